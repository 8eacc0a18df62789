"""Connections: found by either end, moved from state to state, ended when nobody speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from onevip.model import Connection, ForwardingMethod, Protocol, Timeouts
from onevip.model.states import MACHINES, SECURE_TCP, TCP, Direction, State
from onevip.reference.agenda import Agenda
from onevip.reference.packet import Packet
from onevip.reference.persistence import Template
from onevip.reference.real_server import LiveRealServer
from onevip.schedulers.scheduler import Address

Ends = tuple[Protocol, Address, int, Address, int]  # of a packet: from, to


@dataclass(eq=False)
class LiveConnection:
    """One connection; `method` is its real server's when it began.

    `is_heard`: the director sees what the real server says: always with masq, else from the first
    such packet on. `last_seen` in seconds.
    """

    protocol: Protocol
    client: Address
    client_port: int
    vip: Address
    vip_port: int
    server: LiveRealServer
    real_port: int
    method: ForwardingMethod
    template: Template | None
    state: State
    is_heard: bool
    last_seen: float
    is_kept: bool = False  # in the table: not with one-packet scheduling, nor once it has ended

    @property
    def request_ends(self) -> Ends:
        return self.protocol, self.client, self.client_port, self.vip, self.vip_port

    @property
    def reply_ends(self) -> Ends:
        if self.method is ForwardingMethod.MASQ:
            return (self.protocol, self.server.address, self.real_port, self.client,
                    self.client_port)  # fmt: skip
        return self.protocol, self.vip, self.vip_port, self.client, self.client_port

    def see(self, packet: Packet, by: Direction, secure_tcp: bool) -> None:
        """What the packet makes of the state, and that of the counts (spec ipvs §3)."""
        if by is Direction.OUT:
            self.is_heard = True
        elif not self.is_heard:
            by = Direction.IN_ONLY
        before, self.state = self.state, self._next_state(packet, by, secure_tcp)
        if before.is_active != self.state.is_active:
            self.server.move_connection(self.state.is_active)
        self._assure_template(before, by)

    def _next_state(self, packet: Packet, by: Direction, secure_tcp: bool) -> State:
        event = packet.event
        if self.protocol is Protocol.TCP and event is None:
            return TCP["CL"]
        machine = MACHINES[self.protocol]
        if self.protocol is Protocol.TCP and secure_tcp:
            machine = SECURE_TCP
        return machine.after(self.state, by, event) if event else self.state

    def _assure_template(self, before: State, by: Direction) -> None:
        """A client who was answered is no forgery (spec ipvs §3.5)."""
        if self.template is None:
            return
        if self.protocol is Protocol.UDP:
            self.template.is_assured |= by is Direction.OUT
        elif self.state.name == "ESTABLISHED" and before is not self.state:
            self.template.is_assured = True


class Connections:
    """The connection table. Of two connections with equal replies, the later one gets them."""

    def __init__(self, agenda: Agenda) -> None:
        self.timeouts = Timeouts()
        self._agenda = agenda
        self._by_request: dict[Ends, LiveConnection] = {}
        self._by_reply: dict[Ends, list[LiveConnection]] = {}

    def __iter__(self) -> Iterator[LiveConnection]:
        return iter(tuple(self._by_request.values()))

    def of_request(self, packet: Packet) -> LiveConnection | None:
        return self._by_request.get(_ends(packet))

    def of_reply(self, packet: Packet) -> LiveConnection | None:
        found = self._by_reply.get(_ends(packet))
        return found[0] if found else None

    def open(
        self, packet: Packet, server: LiveRealServer, real_port: int, template: Template | None
    ) -> LiveConnection:
        """A new one to that real server; it counts as inactive until its first packet is seen."""
        connection = LiveConnection(
            packet.protocol, packet.source, packet.source_port, packet.destination,
            packet.destination_port, server, real_port, server.real.method, template,
            state=MACHINES[packet.protocol].states[0],
            is_heard=server.real.method is ForwardingMethod.MASQ, last_seen=self._agenda.now,
        )  # fmt: skip
        server.bind_connection()
        server.count_connection()
        if template is not None:
            template.connections += 1
        return connection

    def keep(self, connection: LiveConnection) -> None:
        """From now on its packets find it."""
        connection.is_kept = True
        self._by_request[connection.request_ends] = connection
        self._by_reply.setdefault(connection.reply_ends, []).insert(0, connection)
        self.touch(connection)

    def touch(self, connection: LiveConnection) -> None:
        """A packet was seen: its time begins again."""
        connection.last_seen = self._agenda.now
        self._watch(connection)

    def end(self, connection: LiveConnection) -> None:
        """It leaves the table and the counts."""
        if connection.is_kept:
            connection.is_kept = False
            del self._by_request[connection.request_ends]
            self._by_reply[connection.reply_ends].remove(connection)
        connection.server.unbind_connection(connection.state.is_active)
        if connection.template is not None:
            connection.template.connections -= 1

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """For all, at once: the kernel's own would keep theirs until their next packet."""
        self.timeouts = timeouts
        for connection in self:
            self._watch(connection)

    def shown(self, connection: LiveConnection) -> Connection:
        """As `ipvsadm -Lc` lists it now."""
        return Connection(
            connection.protocol, connection.client, connection.client_port, connection.vip,
            connection.vip_port, connection.server.address, connection.real_port,
            connection.state.name, max(0, int(self._ends_at(connection) - self._agenda.now)),
            active=connection.state.is_active,
        )  # fmt: skip

    def _ends_at(self, connection: LiveConnection) -> float:
        return connection.last_seen + connection.state.timeout_s(self.timeouts)

    def _watch(self, connection: LiveConnection) -> None:
        self._agenda.at(self._ends_at(connection), partial(self._end_if_due, connection))

    def _end_if_due(self, connection: LiveConnection, now: float) -> None:
        """Not when a packet came since this was noted, or when it has ended otherwise."""
        if connection.is_kept and self._ends_at(connection) <= now:
            self.end(connection)


def _ends(packet: Packet) -> Ends:
    return (packet.protocol, packet.source, packet.source_port, packet.destination,
            packet.destination_port)  # fmt: skip
