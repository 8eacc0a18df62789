"""Connections as a table holds them, and which of them are asked for: values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from onevip.model.service import Protocol, RealServerKey, ServiceKey, endpoint_text
from onevip.model.states import MACHINES

#: Names of states in the kernel's order, by protocol.
STATES: dict[Protocol, tuple[str, ...]] = {
    **{protocol: tuple(s.name for s in machine.states) for protocol, machine in MACHINES.items()},
    Protocol.IP: (),  # of templates by firewall mark only
}

#: Those of a persistence template (spec ipvs §3.5).
TEMPLATE_STATES = ("NONE", "ASSURED")


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection, or a persistence template: then its client port is 0.

    `expires_s`: seconds until it ends if no packet comes, rounded down, never below 0.
    """

    protocol: Protocol
    client: IPv4Address | IPv6Address
    client_port: int
    vip: IPv4Address | IPv6Address
    vip_port: int
    real: IPv4Address | IPv6Address
    real_port: int
    state: str
    expires_s: int
    active: bool = False  # counted as ActiveConn
    template: bool = False

    @property
    def service(self) -> ServiceKey:
        """What the client called; a service of every port has port 0 instead."""
        return ServiceKey(self.protocol, self.vip, self.vip_port)

    @property
    def real_server(self) -> RealServerKey:
        return RealServerKey(self.real, self.real_port)

    def __repr__(self) -> str:
        client = endpoint_text(self.client, self.client_port)
        return f"<Connection {client} {self.service} {self.real_server} {self.state}>"


@dataclass(frozen=True, slots=True)
class ConnectionFilter:
    """Which connections are asked for; what is None or empty asks nothing.

    Port 0 of `service` stands for every port, as in the service of that name.
    """

    client: IPv4Network | IPv6Network | None = None
    service: ServiceKey | None = None
    real: IPv4Address | IPv6Address | None = None
    real_port: int | None = None
    states: frozenset[str] = frozenset()

    def admits(self, one: Connection) -> bool:
        """Whether that connection is asked for."""
        return (
            (self.client is None or one.client in self.client)
            and (self.service is None or self._is_of_service(one, self.service))
            and self.real in (None, one.real)
            and self.real_port in (None, one.real_port)
            and (not self.states or one.state in self.states)
        )

    @staticmethod
    def _is_of_service(one: Connection, service: ServiceKey) -> bool:
        named = (one.protocol, one.vip) == (service.protocol, service.address)
        return named and service.port in (0, one.vip_port)


class ConnectionKind(NamedTuple):
    """What connections are counted by."""

    service: ServiceKey
    real_server: RealServerKey
    state: str
    template: bool

    @classmethod
    def of(cls, one: Connection) -> ConnectionKind:
        return cls(one.service, one.real_server, one.state, one.template)


def count(connections: Iterable[Connection]) -> Counter[ConnectionKind]:
    """How many there are of each kind."""
    return Counter(map(ConnectionKind.of, connections))
