"""The Linux Virtual Server: what a director makes of each packet (spec ipvs §1.2 to §1.5).

A packet's road is `receive`: find its connection, or find its service, choose a real server and
remember both; then move the connection's state and count. Read it top to bottom.

Left out: sync, sip, conntrack, cache_bypass, the defences against floods, ICMP errors, fragments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from onevip.model import (
    TUNABLES,
    Change,
    Clear,
    Connection,
    Counters,
    DeleteRealServer,
    DeleteService,
    ForwardingMethod,
    Protocol,
    RealServerKey,
    ServiceKey,
    Table,
    Timeouts,
)
from onevip.model.states import MACHINES, Direction
from onevip.model.tunables import check_tunable
from onevip.reference.agenda import Agenda
from onevip.reference.connections import Connections, LiveConnection
from onevip.reference.counters import ESTIMATE_EVERY_S
from onevip.reference.packet import Decision, Packet, Verdict
from onevip.reference.persistence import Templates, key_of, serves_own_port
from onevip.reference.real_server import LiveRealServer
from onevip.reference.services import FTP, FTP_DATA, LiveService, Services
from onevip.schedulers.scheduler import Request


class Director:
    """One director. `dice(n)`, for twos, is a number below n; without it a repeatable chance.

    Every `now` is in seconds and never goes back; what was due before it is done first.
    """

    def __init__(self, dice: Callable[[int], int] | None = None) -> None:
        self._dice = dice or random.Random(0).randrange
        self._agenda = Agenda()
        self._services = Services(self._agenda)
        self._connections = Connections(self._agenda)
        self._templates = Templates(self._agenda)
        self._tunables = {name: one.default for name, one in TUNABLES.items()}
        self._agenda.at(self._agenda.now, self._estimate)

    def receive(self, packet: Packet, now: float) -> Decision:
        """A packet of either side; replies of gate and ipip never come by."""
        self.advance(now)
        if packet.protocol not in MACHINES:
            return Decision(Verdict.ACCEPT)
        replying = self._connections.of_reply(packet)
        if replying is not None:
            return self._reply(replying, packet)
        connection = self._connections.of_request(packet)
        if connection is not None and packet.asks_anew and self._is_over(connection):
            self._connections.end(connection)
            connection = None
        if connection is not None and not connection.server.available:
            if not self._tunables["expire_nodest_conn"]:
                return Decision(Verdict.DROP)  # it waits for its real server to come back
            self._connections.end(connection)
            connection = None
        if connection is None:
            opened = self._open(packet)
            if isinstance(opened, Verdict):
                return Decision(opened)
            connection = opened
        return self._request(connection, packet)

    def _is_over(self, connection: LiveConnection) -> bool:
        """Whether a first packet on an old connection begins a new one (§1.4)."""
        if self._tunables["expire_nodest_conn"] and not connection.server.weight:
            return True
        mode, state = self._tunables["conn_reuse_mode"], connection.state.name
        if not mode or connection.template is not None:
            return False
        if connection.protocol is Protocol.SCTP:
            return state == "CLOSED"
        half_seen = mode & 2 and not connection.is_heard
        return state in ("TIME_WAIT", "CLOSE") or (state == "FIN_WAIT" and bool(half_seen))

    def _open(self, packet: Packet) -> LiveConnection | Verdict:
        """The connection that the packet opens, or what else becomes of it (§1.3)."""
        if packet.is_cut_off:
            return Verdict.DROP
        sloppy_tcp, sloppy_sctp = self._tunables["sloppy_tcp"], self._tunables["sloppy_sctp"]
        if not packet.may_open(bool(sloppy_tcp), bool(sloppy_sctp)):
            return Verdict.ACCEPT
        service = self._services.find(packet)
        if service is None or packet.source_port == FTP_DATA:
            return Verdict.ACCEPT
        opened = (
            self._open_by_template(service, packet)
            if service.options.persistent_s
            else self._open_by_scheduler(service, packet)
        )
        if opened is None:
            return self._refusal(service, packet)
        if not self._is_for_one_packet(service, packet):
            self._connections.keep(opened)
        return opened

    def _open_by_scheduler(self, service: LiveService, packet: Packet) -> LiveConnection | None:
        if not service.key.mark and not serves_own_port(service, packet):
            return None  # every port is for persistent services only
        server = self._choose(service, packet)
        if server is None:
            return None
        port = server.port or packet.destination_port
        return self._connections.open(packet, server, port, None)

    def _open_by_template(self, service: LiveService, packet: Packet) -> LiveConnection | None:
        """The template's real server; without one the scheduler's, and a template for later."""
        expire_quiescent = bool(self._tunables["expire_quiescent_template"])
        template = self._templates.find(key_of(service, packet), expire_quiescent)
        if template is None:
            server = self._choose(service, packet)
            if server is None:
                return None
            template = self._templates.open(service, packet, server)
        port = packet.destination_port
        if serves_own_port(service, packet):
            port = template.server.port or port
        connection = self._connections.open(packet, template.server, port, template)
        self._templates.touch(template)
        return connection

    def _choose(self, service: LiveService, packet: Packet) -> LiveRealServer | None:
        request = Request(
            packet.source, packet.source_port, packet.destination, service.options.flags,
            self._agenda.now, self._dice, self._tunables,
        )  # fmt: skip
        return service.scheduler.choose(service.servers, request)

    @staticmethod
    def _is_for_one_packet(service: LiveService, packet: Packet) -> bool:
        return service.options.one_packet and packet.protocol is Protocol.UDP

    @staticmethod
    def _refusal(service: LiveService, packet: Packet) -> Verdict:
        """A service, but nobody to serve: FTP's may not be meant at all (§1.5)."""
        if service.key.port == FTP and packet.destination_port != FTP:
            return Verdict.ACCEPT
        return Verdict.REFUSE

    def _request(self, connection: LiveConnection, packet: Packet) -> Decision:
        """Client to real server: counted, and its state moves."""
        connection.server.count_in(packet.length)
        by_masq = connection.method is ForwardingMethod.MASQ
        port = connection.real_port if by_masq else packet.destination_port
        shown = self._after(connection, packet, Direction.IN)
        return Decision(Verdict.REQUEST, connection.server.key, connection.method, port, shown)

    def _reply(self, connection: LiveConnection, packet: Packet) -> Decision:
        """Real server to client: as from the VIP. A deleted real server may finish speaking."""
        connection.server.count_out(packet.length)
        shown = self._after(connection, packet, Direction.OUT)
        key, port = connection.server.key, connection.vip_port
        return Decision(Verdict.REPLY, key, connection.method, port, shown)

    def _after(
        self, connection: LiveConnection, packet: Packet, by: Direction
    ) -> Connection | None:
        """The connection after the packet; one that was for it alone is over."""
        connection.see(packet, by, self._tunables["secure_tcp"] >= 2)
        if not connection.is_kept:
            self._connections.end(connection)
            return None
        self._connections.touch(connection)
        return self._connections.shown(connection)

    # What an administrator does and sees.

    def apply(self, changes: Iterable[Change], now: float) -> None:
        """Raises TableError for the first that does not fit; those before it stay in force."""
        self.advance(now)
        for change in changes:
            self._services.apply(change)
            if isinstance(change, DeleteRealServer | DeleteService | Clear):
                self._sweep()

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """`ipvsadm --set`: for new and old connections, at once."""
        self._connections.set_timeouts(timeouts)

    def set_tunable(self, name: str, value: int, now: float) -> None:
        """Raises UnknownTunable for another name or a value out of range."""
        self.advance(now)
        check_tunable(name, value)
        self._tunables[name] = value

    def table(self) -> Table:
        return self._services.table

    def counters(self) -> dict[tuple[ServiceKey, RealServerKey | None], Counters]:
        """A service's own under (service, None), a real server's under both keys."""
        found: dict[tuple[ServiceKey, RealServerKey | None], Counters] = {}
        for key, service in self._services.live.items():
            found[key, None] = service.counters()
            found |= {(key, server.key): server.counters() for server in service.servers}
        return found

    def connections(self) -> list[Connection]:
        """Connections and templates, as they are at the latest `now`."""
        found = [self._connections.shown(connection) for connection in self._connections]
        return found + [self._templates.shown(template) for template in self._templates]

    # What time does.

    def advance(self, now: float) -> None:
        """Ends what is idle, and estimates rates. Raises ValueError for a time in the past."""
        self._agenda.reach(now)

    def _estimate(self, now: float) -> None:
        self._agenda.at(now + ESTIMATE_EVERY_S, self._estimate)
        if not self._tunables["run_estimation"]:
            return
        for service in self._services.live.values():
            service.statistics.estimate()
            for server in service.servers:
                server.statistics.estimate()

    def _sweep(self) -> None:
        """With expire_nodest_conn nothing survives its real server (§5.6)."""
        if not self._tunables["expire_nodest_conn"]:
            return
        for connection in self._connections:
            if not connection.server.available:
                self._connections.end(connection)
        for template in self._templates:
            if not template.server.available:
                self._templates.end(template)
