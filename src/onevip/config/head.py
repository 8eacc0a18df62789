"""The line `virtual=`: an address and a port, or a firewall mark (spec ldirectord §3.1)."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple

from onevip.config.names import to_port
from onevip.config.place import Place
from onevip.model import Protocol, ServiceKey

_PORT = r"[0-9A-Za-z_-]+"  # what follows it is ignored
_ADDRESS_AND_PORT = re.compile(rf"([0-9A-Za-z._+-]+):({_PORT})")
_IPV6_AND_PORT = re.compile(rf"\[([0-9A-Fa-f:]+)\]:({_PORT})")
_FIREWALL_MARK = re.compile(r"([0-9]+)(\.?)")


class Head(NamedTuple):
    """What stands after `virtual=`: host and port as written, or else a firewall mark."""

    version: int = 4
    host: str = ""
    port: str = ""
    mark: str = ""

    def protocol(self, given: str | None) -> str:
        """tcp, udp or fwm; `given` by its section."""
        if self.mark:
            return "fwm"
        return given or ("udp" if self.port in ("53", "domain") else "tcp")

    def key(self, place: Place, protocol: str) -> ServiceKey:
        """The service of that name. Raises ConfigError.

        Looked up when the whole section is read: a named port depends on the protocol.
        """
        if self.mark:
            mark = int(self.mark[:11])
            if not 0 < mark < 2**32:
                raise place.refusal(f"firewall mark {self.mark} is not in 1..{2**32 - 1}")
            return ServiceKey.of_mark(mark, self.version)
        vip = place.source.world.resolve(self.host, self.version)
        port = to_port(self.port, protocol, place.source.world.port_of)
        if vip is None or port is None:
            wrong = (
                f"the host {self.host} has no IPv{self.version} address"
                if vip is None
                else f"the {protocol} port {self.port} is not known"
            )
            at = self.host if vip is None else self.port
            raise place.error("invalid address for virtual service", wrong, at=at)
        return ServiceKey(Protocol[protocol.upper()], vip, port)


def read(place: Place) -> Head:
    """The head of a section. Raises ConfigError."""
    name, value = place.line.directive() or ("virtual", "")
    version = 6 if name == "virtual6" else 4
    match = _ADDRESS_AND_PORT.match(value)
    if match:
        return Head(version, host=match[1], port=match[2])
    match = _FIREWALL_MARK.match(value)
    if match:
        if match[2]:
            place.warn(
                f"{value} has no port, so it is no address but firewall mark {match[1]}, as in "
                "ldirectord: an address needs its port, as in virtual=192.0.2.1:80"
            )
        return Head(version, mark=match[1])
    match = _IPV6_AND_PORT.match(value)
    if match is None:
        raise place.error(
            "invalid address for virtual server", "it is an address and a port: 192.0.2.1:80"
        )
    if version == 4:
        raise place.error(
            'cannot specify an IPv6 address here. please use "virtual6" instead.', at=match[1]
        )
    if not _is_ipv6(match[1]):
        raise place.error("invalid ipv6 address for virtual server", at=match[1])
    return Head(version, host=match[1], port=match[2])


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
