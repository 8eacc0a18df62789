"""What the kernel would do with a packet of ours to an address: one question by rtnetlink.

Asked of the routing table itself. Binding to the address tells nothing where
net.ipv4.ip_nonlocal_bind is 1, as many directors have it.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

# linux/rtnetlink.h, linux/netlink.h
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
NLM_F_REQUEST = 1
RTA_DST, RTA_OIF, RTA_PREFSRC = 1, 4, 7
RTN_LOCAL = 2
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, destination's bits, ..., type, flags
ATTRIBUTE = struct.Struct("=HH")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to an address go. Without a route all are what they are by default."""

    is_local: bool = False
    source: Address | None = None  # the address that packets of our own come from
    interface: int = 0  # by which they leave


def ask(address: Address) -> Route:
    """The route to an address, now."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    raw = address.packed
    route = ROUTE.pack(family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0)
    route += ATTRIBUTE.pack(ATTRIBUTE.size + len(raw), RTA_DST) + raw
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        length = HEADER.size + len(route)
        netlink.send(HEADER.pack(length, RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + route)
        return _answer(netlink.recv(8192))


def _answer(message: bytes) -> Route:
    length, kind, *_ = HEADER.unpack_from(message)
    if kind != RTM_NEWROUTE:
        return Route()  # an error: no route, or one that refuses
    source, interface = None, 0
    at = HEADER.size + ROUTE.size
    while at + ATTRIBUTE.size <= length:
        size, what = ATTRIBUTE.unpack_from(message, at)
        value = message[at + ATTRIBUTE.size : at + size]
        if what == RTA_PREFSRC:
            source = ip_address(value)
        elif what == RTA_OIF:
            interface = int.from_bytes(value, "little")
        at += max((size + 3) // 4 * 4, ATTRIBUTE.size)
    return Route(ROUTE.unpack_from(message, HEADER.size)[7] == RTN_LOCAL, source, interface)
