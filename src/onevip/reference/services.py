"""The table at work: virtual services, their real servers in list order, their schedulers."""

from __future__ import annotations

from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    Counters,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
    ServiceOptions,
    Table,
    UnknownScheduler,
    Zero,
)
from onevip.reference.agenda import Agenda
from onevip.reference.counters import Statistics
from onevip.reference.packet import Packet
from onevip.reference.real_server import LiveRealServer
from onevip.reference.trash import Trash
from onevip.schedulers.by_name import BY_NAME
from onevip.schedulers.scheduler import Scheduler

FTP, FTP_DATA = 21, 20
FIRST_UNPRIVILEGED = 1024  # net.ipv4.ip_unprivileged_port_start


class LiveService:
    """A virtual service; `servers` are in list order, the most recently added first."""

    def __init__(self, key: ServiceKey, scheduler: str, options: ServiceOptions) -> None:
        self.key = key
        self.servers: list[LiveRealServer] = []
        self.statistics = Statistics()
        self.scheduler_name = ""
        self.edit(scheduler, options)

    def edit(self, scheduler: str, options: ServiceOptions) -> None:
        """Another scheduler begins anew, the same one goes on."""
        self.options = options
        if scheduler != self.scheduler_name:
            self.scheduler_name = scheduler
            self.scheduler: Scheduler[LiveRealServer] = BY_NAME[scheduler](self.servers)

    def server(self, key: RealServerKey) -> LiveRealServer:
        return next(server for server in self.servers if server.key == key)

    def have(self, servers: list[LiveRealServer]) -> None:
        """From now on these; the same ones: one of them was edited."""
        before, self.servers = self.servers, servers
        self.scheduler.changed(before, servers)

    def counters(self) -> Counters:
        return self.statistics.shown(
            sum(server.active for server in self.servers),
            sum(server.inactive for server in self.servers),
            sum(server.persistent for server in self.servers),
        )


class Services:
    """All of them, by key. Changes are checked by the model's Table, which `table` is."""

    def __init__(self, agenda: Agenda) -> None:
        self.table = Table.of()
        self.live: dict[ServiceKey, LiveService] = {}
        self._trash = Trash(agenda)

    def find(self, packet: Packet) -> LiveService | None:
        """Whose packet it is: by mark, address and port, FTP's data, every port (§1.3)."""
        vip, port, protocol = packet.destination, packet.destination_port, packet.protocol
        names = [ServiceKey(protocol, vip, port)]
        if packet.mark:
            names.insert(0, ServiceKey.of_mark(packet.mark, vip.version))
        if protocol is Protocol.TCP and (port == FTP_DATA or port >= FIRST_UNPRIVILEGED):
            names.append(ServiceKey(protocol, vip, FTP))
        names.append(ServiceKey(protocol, vip, 0))
        return next((self.live[name] for name in names if name in self.live), None)

    def apply(self, change: Change) -> None:
        """Raises TableError, and nothing has changed, when it does not fit."""
        if isinstance(change, AddService | EditService) and change.scheduler not in BY_NAME:
            raise UnknownScheduler(f"there is no scheduler {change.scheduler}")
        self.table = self.table.apply([change])
        self._apply_to_service(change)
        self._apply_to_real_server(change)

    def _apply_to_service(self, change: Change) -> None:
        match change:
            case AddService(key, scheduler, options):
                self.live[key] = LiveService(key, scheduler, options)
            case EditService(key, scheduler, options):
                self.live[key].edit(scheduler, options)
            case DeleteService(key):
                self._delete_service(key)
            case Clear():
                for key in list(self.live):
                    self._delete_service(key)
            case Zero(key):
                for service in self.live.values() if key is None else [self.live[key]]:
                    service.statistics.clear()
                    for server in service.servers:
                        server.statistics.clear()

    def _apply_to_real_server(self, change: Change) -> None:
        match change:
            case AddRealServer(key, real):
                self._add(self.live[key], real)
            case EditRealServer(key, real):
                service = self.live[key]
                service.server(real.key).configure(real)
                service.have(list(service.servers))
            case DeleteRealServer(key, real_key):
                self._delete(self.live[key], self.live[key].server(real_key))

    def _add(self, service: LiveService, real: RealServer) -> None:
        """At the list's head, with the counts that it had if it was deleted a moment ago."""
        known = self._trash.take(service.key, real.key)
        server = known or LiveRealServer(service, real)
        server.join(service, real)
        service.have([server, *service.servers])

    def _delete(self, service: LiveService, server: LiveRealServer) -> None:
        service.have([other for other in service.servers if other is not server])
        self._trash.put(server)

    def _delete_service(self, key: ServiceKey) -> None:
        service = self.live.pop(key)
        for server in service.servers:
            self._trash.put(server)
