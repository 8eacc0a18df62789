"""A stage for the reference: one director, clients and real servers that speak in one word."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from onevip.model import (
    AddRealServer,
    AddService,
    Connection,
    Counters,
    DeleteRealServer,
    EditRealServer,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
    ServiceOptions,
)
from onevip.reference import Decision, Director, Packet

Address = IPv4Address | IPv6Address
VIP = IPv4Address("192.0.2.100")
CLIENT = IPv4Address("198.51.100.7")
REAL, OTHER, THIRD = (IPv4Address(f"10.1.0.1{number}") for number in range(3))
MASQ, GATE, IPIP = ForwardingMethod.MASQ, ForwardingMethod.GATE, ForwardingMethod.IPIP
WEB = ServiceKey(Protocol.TCP, VIP, 80)
DNS = ServiceKey(Protocol.UDP, VIP, 53)
CALLS = ServiceKey(Protocol.SCTP, VIP, 3868)


class Scene:
    """`now` moves by `wait` only. The service is the latest that was added."""

    def __init__(self, dice: Callable[[int], int] | None = None) -> None:
        self.director = Director(dice)
        self.now = 1000.0
        self.service = WEB

    def serve(
        self, service: ServiceKey = WEB, scheduler: str = "rr",
        options: ServiceOptions | None = None,
    ) -> None:  # fmt: skip
        self.service = service
        self.apply(AddService(service, scheduler, options or ServiceOptions()))

    def add(
        self, address: Address = REAL, method: ForwardingMethod = MASQ, *, weight: int = 1,
        upper: int = 0, lower: int = 0, port: int | None = None,
    ) -> None:  # fmt: skip
        port = self.service.port if port is None else port
        real = RealServer(address, port, method, weight, upper, lower)
        self.apply(AddRealServer(self.service, real))

    def edit(
        self, address: Address = REAL, method: ForwardingMethod = MASQ, *, weight: int = 1,
        upper: int = 0, lower: int = 0,
    ) -> None:  # fmt: skip
        real = RealServer(address, self.service.port, method, weight, upper, lower)
        self.apply(EditRealServer(self.service, real))

    def delete(self, address: Address = REAL) -> None:
        self.apply(DeleteRealServer(self.service, RealServerKey(address, self.service.port)))

    def apply(self, *changes: object) -> None:
        self.director.apply(changes, self.now)  # type: ignore[arg-type]

    def tune(self, name: str, value: int) -> None:
        self.director.set_tunable(name, value, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.director.advance(self.now)

    def client(
        self, says: str | tuple[int, ...] = "", port: int = 40000, by: Address = CLIENT, *,
        to: int | None = None, vip: Address = VIP, mark: int = 0, length: int = 40,
        protocol: Protocol | None = None,
    ) -> Decision:  # fmt: skip
        """A packet to the VIP: TCP's flags, or SCTP's chunks."""
        protocol = self.service.protocol if protocol is None else protocol
        to = self.service.port if to is None else to
        flags, chunks = (says, ()) if isinstance(says, str) else ("", says)
        packet = Packet(by, port, vip, to, protocol, flags, chunks, length, mark)
        return self.director.receive(packet, self.now)

    def server(
        self, says: str | tuple[int, ...] = "", port: int = 40000, *, by: Address = REAL,
        to: Address = CLIENT, from_port: int | None = None, length: int = 40,
        protocol: Protocol | None = None,
    ) -> Decision:  # fmt: skip
        """A reply of a masq real server."""
        protocol = self.service.protocol if protocol is None else protocol
        from_port = self.service.port if from_port is None else from_port
        flags, chunks = (says, ()) if isinstance(says, str) else ("", says)
        packet = Packet(by, from_port, to, port, protocol, flags, chunks, length)
        return self.director.receive(packet, self.now)

    def got(self, *packet: object, **more: object) -> Address | None:
        """The address of the real server that a client's packet was sent to."""
        decision = self.client(*packet, **more)  # type: ignore[arg-type]
        return decision.real_server.address if decision.real_server else None

    def establish(self, port: int = 40000, by: Address = CLIENT) -> Address:
        """A TCP connection through the handshake; whose it is."""
        real = self.got("S", port, by)
        assert real is not None
        self.client("A", port, by)
        return real

    def listed(self) -> list[Connection]:
        """Connections, without templates."""
        return [one for one in self.director.connections() if not one.template]

    def templates(self) -> list[Connection]:
        return [one for one in self.director.connections() if one.template]

    def state(self) -> tuple[str, int]:
        """Of the only connection: as `ipvsadm -Lc` shows it, and its seconds."""
        (one,) = self.listed()
        return one.state, one.expires_s

    def counters(self, address: Address | None = REAL) -> Counters:
        key = None if address is None else RealServerKey(address, self.service.port)
        return self.director.counters()[self.service, key]

    def counts(self, address: Address | None = REAL) -> tuple[int, int]:
        """ActiveConn and InActConn."""
        found = self.counters(address)
        return found.active, found.inactive
