"""An engine that is a table in memory, and ipvsadm run against it. For tests only."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from onevip.command.environment import Environment
from onevip.command.ipvsadm import main
from onevip.engines.base import CountersByKey, Snapshot
from onevip.engines.memory import RememberedConnections
from onevip.model import (
    AddService,
    Change,
    Connection,
    EditService,
    ServiceKey,
    Table,
    UnknownScheduler,
    UnknownService,
)

SCHEDULERS = frozenset(("rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "mh"))


@dataclass
class FakeEngine(RememberedConnections):
    table: Table = field(default_factory=Table.of)
    counters: CountersByKey = field(default_factory=dict)
    applied: list[Change] = field(default_factory=list)
    held: list[Connection] = field(default_factory=list)

    def read(self) -> Table:
        return self.table

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        if service is None:
            return Snapshot(self.table, self.counters)
        if self.table.get(service) is None:
            raise UnknownService(f"{service} is not in the table")
        return Snapshot(self.table.restricted_to([service]), self.counters)

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            named = change.scheduler if isinstance(change, AddService | EditService) else "rr"
            if named not in SCHEDULERS:
                raise UnknownScheduler(named)
            self.table = self.table.apply([change])
            self.applied.append(change)

    def schedulers(self) -> frozenset[str]:
        return SCHEDULERS


@dataclass
class Ipvsadm:
    """`ipvsadm("-Ln")` returns what it printed on both streams and its exit status."""

    engine: FakeEngine = field(default_factory=FakeEngine)

    def __call__(self, command_line: str) -> tuple[str, int]:
        printed = io.StringIO()
        environment = Environment(stdout=printed, stderr=printed, engine=lambda: self.engine)
        status = main(command_line.split(), environment)
        return printed.getvalue(), status
