"""Virtual services, real servers and their counters: values only.

Ports are host order everywhere in Python. Addresses are `ipaddress` objects.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address


class Protocol(enum.IntEnum):
    """IP protocol numbers of services (IANA)."""

    TCP = 6
    UDP = 17


class ForwardingMethod(enum.IntEnum):
    """How a packet reaches the real server; the kernel's IP_VS_CONN_F_* numbers (spec ipvs §0)."""

    MASQ = 0
    LOCAL = 1
    IPIP = 2
    GATE = 3


def endpoint_text(address: IPv4Address | IPv6Address, port: int) -> str:
    """`192.0.2.1:80` or `[2001:db8::1]:80`."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What names a virtual service: protocol, virtual IP (VIP) and port."""

    protocol: Protocol
    address: IPv4Address | IPv6Address
    port: int

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Sort key of `ipvsadm -L`: family, protocol, address, port (spec ipvs §10.7)."""
        return (self.address.version, self.protocol, int(self.address), self.port)

    def __str__(self) -> str:
        return f"{self.protocol.name.lower()} {endpoint_text(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class RealServerKey:
    """What names a real server inside its service."""

    address: IPv4Address | IPv6Address
    port: int

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key of `ipvsadm -L`: address, then port."""
        return (self.address.version, int(self.address), self.port)

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


@dataclass(frozen=True, slots=True)
class RealServer:
    """One real server of one virtual service. weight 0..2^31-1; 0 means quiescent."""

    address: IPv4Address | IPv6Address
    port: int
    method: ForwardingMethod = ForwardingMethod.GATE
    weight: int = 1

    @property
    def key(self) -> RealServerKey:
        return RealServerKey(self.address, self.port)

    @property
    def is_quiescent(self) -> bool:
        """Weight 0: no new connections, existing ones go on."""
        return self.weight == 0

    def __repr__(self) -> str:
        return f"<RealServer {self.key} {self.method.name.lower()} weight {self.weight}>"


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A virtual service and its real servers, in the order in which they were added.

    The order decides ties (spec ipvs §4.0) but is no part of equality: two services are equal
    when they hold the same real servers.
    """

    key: ServiceKey
    scheduler: str = "wlc"
    real_servers: tuple[RealServer, ...] = field(default=(), compare=False)
    _members: frozenset[RealServer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len({real.key for real in self.real_servers}) != len(self.real_servers):
            raise ValueError(f"a real server stands twice in {self.key}")
        object.__setattr__(self, "_members", frozenset(self.real_servers))

    def real_server(self, key: RealServerKey) -> RealServer | None:
        """The real server of this key, or None."""
        return next((real for real in self.real_servers if real.key == key), None)

    def __repr__(self) -> str:
        up = sum(not real.is_quiescent for real in self.real_servers)
        total = len(self.real_servers)
        return f"<VirtualService {self.key} {self.scheduler}, {up}/{total} with weight>"


@dataclass(frozen=True, slots=True)
class Counters:
    """Gauges and totals of a real server or service, as `ipvsadm -L` shows them.

    `active` and `inactive` are gauges (spec ipvs §3.1); the rest are totals since creation or
    the last `ipvsadm -Z`. Bytes are IP packet lengths, without layer 2 (spec ipvs §7).
    """

    active: int = 0
    inactive: int = 0
    persistent: int = 0
    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
