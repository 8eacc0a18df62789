"""An engine that only remembers: for tests of everything that uses one. Moves no packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from onevip.engines.base import EVERY_CONNECTION, CountersByKey, LineFormat, Snapshot
from onevip.engines.room import RoomReport
from onevip.model import (
    AddService,
    Change,
    Connection,
    ConnectionFilter,
    ConnectionKind,
    Counters,
    DataplaneError,
    EditService,
    OnevipError,
    ServiceKey,
    Table,
    Timeouts,
    UnknownScheduler,
    UnknownService,
)
from onevip.model.connection import count
from onevip.model.service import SCHEDULERS
from onevip.model.tunables import TUNABLES, check_tunable


class RememberedConnections:
    """The connections of an engine that moves none, and their room: what was put in."""

    held: Iterable[Connection] = ()
    reported: RoomReport | None = None

    def connections(self, wanted: ConnectionFilter = EVERY_CONNECTION) -> Iterator[Connection]:
        return filter(wanted.admits, self.held)

    def connection_lines(
        self, lines: LineFormat, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Iterator[str]:
        return map(lines.line, self.connections(wanted))

    def connection_counts(
        self, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Counter[ConnectionKind]:
        return count(self.connections(wanted))

    def room(self) -> RoomReport:
        if self.reported is None:
            raise DataplaneError("the connection table", "nothing is loaded")
        return self.reported

    def set_limit(self, connections: int) -> RoomReport:
        """The size for the limit is not worked out: it is what was put in."""
        self.reported = replace(self.room(), limit=connections)
        return self.reported

    def grow(self) -> RoomReport:
        room = self.room()
        if not room.may_grow:
            raise DataplaneError("growing the connection table", "it has grown")
        self.reported = replace(room, tables=(room.rules.grown, room.tables[0]))
        return self.reported


class MemoryEngine(RememberedConnections):
    """Holds a table as an engine does. `refusal` is raised by every change while it is set.

    `counters` are those that were put in; what has none there has zeros.
    """

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table.of()
        self.counters: CountersByKey = {}
        self.applied: list[Change] = []
        self.refusal: OnevipError | None = None
        self.set_to = Timeouts()
        self.tuned: dict[str, int] = {}

    def read(self, services: Iterable[ServiceKey] | None = None) -> Table:
        return self.table if services is None else self.table.restricted_to(services)

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        if service is not None and self.table.get(service) is None:
            raise UnknownService(f"{service} is not in the table")
        table = self.table if service is None else self.table.restricted_to([service])
        rows = [(s.key, real.key) for s in table for real in s.real_servers]
        keys = [*((s.key, None) for s in table), *rows]
        return Snapshot(table, {key: self.counters.get(key, Counters()) for key in keys})

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if self.refusal is not None:
                raise self.refusal
            if isinstance(change, AddService | EditService):
                self._know(change.scheduler)
            self.table = self.table.apply([change])
            self.applied.append(change)

    def schedulers(self) -> frozenset[str]:
        return frozenset(SCHEDULERS)

    def timeouts(self) -> Timeouts:
        return self.set_to

    def set_timeouts(self, timeouts: Timeouts) -> None:
        self.set_to = timeouts

    def tunables(self) -> dict[str, int]:
        return {name: one.default for name, one in TUNABLES.items()} | self.tuned

    def set_tunable(self, name: str, value: int) -> None:
        check_tunable(name, value)
        self.tuned[name] = value

    def _know(self, scheduler: str) -> None:
        if scheduler not in self.schedulers():
            raise UnknownScheduler(f"there is no scheduler {scheduler}")
