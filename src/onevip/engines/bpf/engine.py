"""The BPF engine: the table of this network namespace in pinned maps. The maps are the truth.

Opens the pins, takes the lock, and leaves reading to rows.py, writing to writer.py, interfaces
to doors.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from onevip.engines.base import EVERY_CONNECTION, CountersByKey, LineFormat, Snapshot
from onevip.engines.bpf import check_paths, loader, pins, room_report, shapes
from onevip.engines.bpf.check_paths import CheckPaths
from onevip.engines.bpf.codec import SCHEDULERS, scheduler_number
from onevip.engines.bpf.doors import Door, Doors, interface, interfaces
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.marks import Detour, marks_of
from onevip.engines.bpf.rows import Rows
from onevip.engines.bpf.tables import SHRINK_AFTER_S, Step
from onevip.engines.bpf.writer import Writer, together
from onevip.engines.room import RoomReport
from onevip.model import (
    AddService,
    Change,
    CheckPath,
    Clear,
    Connection,
    ConnectionFilter,
    ConnectionKind,
    DataplaneError,
    DeleteService,
    ServiceKey,
    Table,
    Timeouts,
    UnknownService,
    Zero,
)
from onevip.model.tunables import TUNABLES, check_tunable

if TYPE_CHECKING:
    from onevip.engines.bpf.connections import Reader

ROUTES_EVERY = 5  # seconds between two looks at what only user space sees of real servers
REFUSED_FOR_S = 10.0  # a kernel that has no memory for a table is left in peace for so long


class BpfEngine:
    """Answers to `engines.base.Engine`. Making one costs nothing and loads nothing."""

    def __init__(self) -> None:
        self._found: DataPlane | None = None
        self._ticks = -1
        self._upkeeps = 0
        self._small_since: float | None = None
        self._refusal: DataplaneError | None = None
        self._refused_at = 0.0
        self._check_paths = CheckPaths()

    def __repr__(self) -> str:
        plane = self._plane()
        return f"<BpfEngine at {plane.path}>" if plane else "<BpfEngine, not loaded>"

    def _plane(self) -> DataPlane | None:
        if self._found is None or not self._found.is_pinned:
            self._found = loader.find()
        return self._found

    # Reading.

    def schedulers(self) -> frozenset[str]:
        return frozenset(SCHEDULERS)

    def read(self, services: Iterable[ServiceKey] | None = None) -> Table:
        with pins.reader_lock():
            plane = self._plane()
            if plane is None:
                return Table.of()
            rows = Rows(plane)
            indexes = rows.services() if services is None else rows.indexes_of(services)
            return Table.of(rows.service(index) for index in indexes)

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        with pins.reader_lock():
            plane = self._plane()
            if plane is None:
                if service is not None:
                    raise UnknownService(f"{service} is not in the table")
                return Snapshot(Table.of(), {})
            rows = Rows(plane)
            indexes = rows.services() if service is None else [rows.service_index(service)]
            counters: CountersByKey = {}
            for index in indexes:
                counters |= rows.counters(index)
            return Snapshot(Table.of(rows.service(index) for index in indexes), counters)

    # Connections: without the lock, see connections.py.

    def connections(self, wanted: ConnectionFilter = EVERY_CONNECTION) -> Iterator[Connection]:
        reader = self._reader(wanted)
        return iter(()) if reader is None else reader.connections()

    def connection_lines(
        self, lines: LineFormat, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Iterator[str]:
        reader = self._reader(wanted)
        return iter(()) if reader is None else reader.lines(lines)

    def connection_counts(
        self, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Counter[ConnectionKind]:
        reader = self._reader(wanted)
        return Counter() if reader is None else reader.counts()

    def _reader(self, wanted: ConnectionFilter) -> Reader | None:
        from onevip.engines.bpf.connections import Reader  # noqa: PLC0415 - most commands do without

        plane = self._plane()
        return None if plane is None else Reader(plane, wanted)

    # Their room.

    def room(self) -> RoomReport:
        return room_report.of(self._loaded())

    def set_limit(self, connections: int) -> RoomReport:
        with pins.writer_lock():
            plane = self._loaded()
            plane.tables.set_limit(connections)
            self._take(plane, plane.tables.room().step())
            return room_report.of(plane)

    def grow(self) -> RoomReport:
        with pins.writer_lock():
            plane = self._loaded()
            if not plane.tables.grow():
                raise DataplaneError("growing the connection table", plane.tables.why_not_grow())
            return room_report.of(plane)

    def _loaded(self) -> DataPlane:
        plane = self._plane()
        if plane is None:
            raise DataplaneError(
                "there is no connection table here yet",
                "the first service makes it: onevip ipvsadm -A, or onevip run",
            )
        return plane

    def door_counters(self) -> dict[str, dict[str, int]]:
        """What happened at each door since it was loaded, by the names of shapes.h."""
        plane = self._plane()
        names = tuple(shapes.DOOR_COUNTERS.fields)
        return {
            door: dict(
                zip(
                    names,
                    plane.door_counters.total(index) if plane else (0,) * len(names),
                    strict=True,
                )
            )
            for index, door in enumerate(("tc", "xdp"))
        }

    # Changing.

    def apply(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        if not changes:
            return
        with pins.writer_lock() as base:
            plane = self._plane()
            if plane is None:
                Table.of().apply(changes[:1])  # says which key is missing, as any engine does
                if all(isinstance(change, (Clear, Zero)) for change in changes):
                    return
                for change in changes:
                    if isinstance(change, AddService):
                        scheduler_number(change.scheduler)
                plane = loader.load(base)
            loader.enable_lookups()
            try:
                for at_once in together(changes):
                    with Writer(plane).at_work() as writer:
                        writer.apply(at_once)
                if any(isinstance(change, (Clear, DeleteService)) for change in changes):
                    Writer(plane).rebuild_filter()
            finally:  # those before one that does not fit stay in force
                Doors(plane).follow()
                problem = _follow_marks(plane)
            if problem:
                raise problem
            with suppress(DataplaneError):  # the changes stand; the daemon tells what was refused
                self._take(plane, plane.tables.room().step())

    # Settings: they hold until the data plane is unloaded, which the first of them loads.

    def timeouts(self) -> Timeouts:
        plane = self._plane()
        return Timeouts() if plane is None else loader.timeouts(plane)

    def set_timeouts(self, timeouts: Timeouts) -> None:
        with pins.writer_lock() as base:
            loader.set_timeouts(self._plane() or loader.load(base), timeouts)

    def tunables(self) -> dict[str, int]:
        plane = self._plane()
        return {
            name: one.default if plane is None else plane.settings.get(0, name)
            for name, one in TUNABLES.items()
        }

    def set_tunable(self, name: str, value: int) -> None:
        check_tunable(name, value)
        with pins.writer_lock() as base:
            (self._plane() or loader.load(base)).settings.set(0, name, value)

    # Doors.

    def attach(self, name: str | None, door: str) -> list[str]:
        """Open a door of one interface or of all; loads the data plane if need be."""
        where = [interface(name)] if name else [w for w in interfaces() if w.has_ethernet]
        with pins.writer_lock() as base:
            plane = self._plane() or loader.load(base)
            loader.enable_lookups()
            doors = Doors(plane)
            return [doors.attach(one, door) for one in where]

    def detach(self, name: str | None, door: str) -> None:
        """Close doors; the table stays."""
        where = [interface(name)] if name else interfaces()
        with pins.writer_lock():
            plane = self._plane()
            if plane is not None:
                for one in where:
                    Doors(plane).detach(one, door)

    def unload(self) -> None:
        """Close all doors and forget the table and every connection."""
        with pins.writer_lock():
            check_paths.sweep()
            plane = self._plane()
            if plane is None:
                return
            Detour(plane).remove()
            Doors(plane).detach_all()
            pins.retire(plane.path)
            self._found = None

    def doors(self) -> list[Door]:
        """Every interface with its doors; none when nothing is loaded."""
        plane = self._plane()
        return [] if plane is None else Doors(plane).show()

    # For the daemon.

    def adopt(self) -> list[str]:
        """Take over what is loaded: newer programs over the same table, doors swapped.

        Returns what was done, in words. Raises DataplaneError when the layouts differ.
        """
        with pins.writer_lock():
            plane = self._plane()
            if plane is None or loader.is_current(plane):
                return []
            loader.upgrade(plane)
            Doors(plane).swap()
            Detour(plane).swap()
            loader.mark_current(plane)
            return ["the data plane's programs were replaced by this version's"]

    def follow_interfaces(self) -> list[str]:
        """Open the tc door of new interfaces. Returns problems in words."""
        plane = self._plane()
        if plane is None and not self._check_paths.are_used:
            return []
        with pins.writer_lock():
            problems = self._check_paths.follow()
            return problems if plane is None else problems + Doors(plane).follow()

    def check_paths(self, paths: Iterable[CheckPath]) -> dict[CheckPath, int]:
        """Marks (SO_MARK) whose packets take these ways, instead of all before; none: no way.

        They lead there until this process ends or asks again. Those that lead nowhere are left
        out: IPv6, masq, by firewall mark, to this machine, without Ethernet. Raises DataplaneError.
        """
        with pins.writer_lock():
            return self._check_paths.use(paths)

    def make_room(self) -> list[str]:
        """Ten times a second: let the table of connections grow, or go back. Returns it in words.

        Costs a look at two mapped pages when there is nothing to do. Raises DataplaneError when the
        kernel refuses, and the same for some seconds without asking it again.
        """
        plane = self._plane()
        if plane is None:
            return []
        step = plane.tables.room().step()
        if step is not Step.SHRINK:
            self._small_since = None
        elif self._small_since is None:
            self._small_since = time.monotonic()
        if step is Step.NONE or (step is Step.SHRINK and not self._has_been_small()):
            return []
        if self._refusal and time.monotonic() - self._refused_at < REFUSED_FOR_S:
            raise self._refusal.with_traceback(None)
        self._refusal = None
        with pins.writer_lock():
            if not plane.is_pinned:  # what is at its path now is another's
                return []
            try:
                return self._take(plane, step)
            except DataplaneError as error:
                self._refusal, self._refused_at = error, time.monotonic()
                raise

    def _has_been_small(self) -> bool:
        since = self._small_since
        return since is not None and time.monotonic() - since > SHRINK_AFTER_S

    def _take(self, plane: DataPlane, step: Step) -> list[str]:
        """The writer lock is held. Shrinking is the daemon's, who has the patience."""
        plane.tables.tidy()
        if step is Step.SHRINK and not self._has_been_small():
            return []
        return [str(plane.tables.room())] if plane.tables.take(step) else []

    def upkeep(self) -> list[str]:
        """Each second: mend what others may have undone. Returns what was mended, in words."""
        plane = self._plane()
        if plane is None and not self._check_paths.are_used:
            return []
        with pins.writer_lock():
            mended = self._check_paths.follow()
            if plane is None:
                return mended
            if loader.enable_lookups():
                mended.append("net.ipv4.conf.lo.forwarding was off: switched on again")
            self._upkeeps += 1
            if self._upkeeps % ROUTES_EVERY == 0 and Writer(plane).refresh_routes():
                Doors(plane).follow()
            ticks = plane.report.get(0, "ticks")
            if ticks == self._ticks:
                loader.rearm(plane)
                mended.append("the sweeper stood still: its timer was started again")
            self._ticks = ticks
            if Detour(plane).ensure(marks_of(plane)):
                mended.append("packets with a firewall mark found no way to a door: mended")
        return mended


def _follow_marks(plane: DataPlane) -> DataplaneError | None:
    """The detour of packets with the mark of a service; or why there is none."""
    try:
        Detour(plane).ensure(marks_of(plane))
    except DataplaneError as error:
        return error
    return None
