"""Changes of a table, and the difference between two tables. Pure.

`diff(a, b)` is the list of changes with `a.apply(diff(a, b)) == b`; each is one `ipvsadm` command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onevip.model.service import (
    PLAIN,
    RealServer,
    RealServerKey,
    ServiceKey,
    ServiceOptions,
    VirtualService,
)
from onevip.model.table import Table


@dataclass(frozen=True, slots=True)
class AddService:
    """`ipvsadm -A`: a service without real servers."""

    service: ServiceKey
    scheduler: str
    options: ServiceOptions = PLAIN

    def applied_to(self, table: Table) -> Table:
        return table.with_service(
            VirtualService(self.service, self.scheduler, options=self.options)
        )


@dataclass(frozen=True, slots=True)
class EditService:
    """`ipvsadm -E`: scheduler and options as given; another scheduler begins anew."""

    service: ServiceKey
    scheduler: str
    options: ServiceOptions = PLAIN

    def applied_to(self, table: Table) -> Table:
        return table.with_edited_service(self.service, self.scheduler, self.options)


@dataclass(frozen=True, slots=True)
class DeleteService:
    """`ipvsadm -D`: the service and all its real servers."""

    service: ServiceKey

    def applied_to(self, table: Table) -> Table:
        return table.without_service(self.service)


@dataclass(frozen=True, slots=True)
class AddRealServer:
    """`ipvsadm -a`."""

    service: ServiceKey
    real: RealServer

    def applied_to(self, table: Table) -> Table:
        return table.with_real_server(self.service, self.real)


@dataclass(frozen=True, slots=True)
class EditRealServer:
    """`ipvsadm -e`: weight, thresholds and method; connections keep the method they began with."""

    service: ServiceKey
    real: RealServer

    def applied_to(self, table: Table) -> Table:
        return table.with_edited_real_server(self.service, self.real)


@dataclass(frozen=True, slots=True)
class DeleteRealServer:
    """`ipvsadm -d`."""

    service: ServiceKey
    real: RealServerKey

    def applied_to(self, table: Table) -> Table:
        return table.without_real_server(self.service, self.real)


@dataclass(frozen=True, slots=True)
class Clear:
    """`ipvsadm -C`: every service."""

    def applied_to(self, table: Table) -> Table:
        return Table.of()


@dataclass(frozen=True, slots=True)
class Zero:
    """`ipvsadm -Z`: totals of one service, or of all, start again at 0. No part of the table."""

    service: ServiceKey | None = None

    def applied_to(self, table: Table) -> Table:
        if self.service is not None:
            table.with_edited_service(self.service, "", PLAIN)  # raises UnknownService
        return table


Change = (
    AddService
    | EditService
    | DeleteService
    | AddRealServer
    | EditRealServer
    | DeleteRealServer
    | Clear
    | Zero
)


def diff(actual: Table, wanted: Table) -> list[Change]:
    """The changes that make `wanted` of `actual`; none when they are equal.

    Services keep their scheduler state when only real servers differ. Within a service, new and
    better real servers come before those that lose weight or leave, so that a service never
    stands empty on the way from one non-empty list to another.
    """
    changes: list[Change] = [
        DeleteService(service.key) for service in actual if wanted.get(service.key) is None
    ]
    for service in wanted:
        before = actual.get(service.key)
        if before is None:
            changes.append(AddService(service.key, service.scheduler, service.options))
            before = replace(service, real_servers=())
        elif (before.scheduler, before.options) != (service.scheduler, service.options):
            changes.append(EditService(service.key, service.scheduler, service.options))
        changes.extend(_real_server_changes(before, service))
    return changes


def _real_server_changes(before: VirtualService, after: VirtualService) -> Iterator[Change]:
    old = {real.key: real for real in before.real_servers}
    new = {real.key: real for real in after.real_servers}
    worse: list[Change] = []
    for key, real in new.items():
        if key not in old:
            yield AddRealServer(after.key, real)
        elif old[key] != real:
            edit = EditRealServer(after.key, real)
            if real.weight >= old[key].weight:
                yield edit
            else:
                worse.append(edit)
    yield from worse
    for key in old:
        if key not in new:
            yield DeleteRealServer(after.key, key)
