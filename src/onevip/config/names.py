"""Names that a configuration may hold: hosts, ports, services."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address
#: Host name or address, and IP version → its first address of that version, None when it has none.
Resolve = Callable[[str, int], Address | None]
#: Service name and protocol ("tcp", "udp", None: any) → port, None when unknown.
PortOf = Callable[[str, str | None], int | None]

#: Which service a port means when no `service=` line says so (spec ldirectord §3.1).
SERVICE_OF_PORT = {
    21: "ftp",
    25: "smtp",
    53: "dns",
    80: "http",
    110: "pop",
    119: "nntp",
    143: "imap",
    389: "ldap",
    443: "https",
    587: "submission",
    636: "ldaps",
    993: "imaps",
    995: "pops",
    1521: "oracle",
    1812: "radius",
    3128: "http_proxy",
    3306: "mysql",
    5060: "sip",
    5432: "pgsql",
}
PORT_OF_SERVICE = {service: port for port, service in SERVICE_OF_PORT.items()}
SERVICES = (*PORT_OF_SERVICE, "simpletcp", "none")


def resolve(host: str, version: int) -> Address | None:
    """The first address of that version that the system knows for this host. Blocks on DNS."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return ip_address(str(found[0][4][0]).partition("%")[0])


def port_of(name: str, protocol: str | None) -> int | None:
    """The port of a service name in /etc/services."""
    try:
        return socket.getservbyname(name, protocol) if protocol else socket.getservbyname(name)
    except (OSError, UnicodeError):
        return None


def to_port(text: str, protocol: str | None, look_up: PortOf) -> int | None:
    """A port number, or a service name looked up. None when it is neither or out of range."""
    if not text.isdecimal():
        return look_up(text, protocol)
    # isascii: "٨" is a decimal digit too
    return int(text) if text.isascii() and len(text) <= 9 and int(text) <= 65535 else None
