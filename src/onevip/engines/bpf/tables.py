"""Tables of connections: how large, and when one grows out of the other. Reads no connection.

Entries are never moved. New connections go to a new table, those of the old one are found and
touched where they are until they end; then the old table goes. Each step is one store of
`settings.tables`, and whoever is killed between two leaves what the next one goes on with:

    {old}/old -> {old, new}/old -> wait -> {old, new}/new -> wait -> old is empty -> {new}/new

{searched}/where new ones go. A wait is for the programs that began before it: without the first,
two CPUs may open one connection in both tables; without the second, one may still open it in the
old table when that is no longer searched (tests/model/connections.pml).

A table that was shrunk may have to grow while a connection that lasts keeps the larger old one:
then new ones go there again, {large, small}/small -> {large, small}/large. Who searches both tables
locks both, so programs before and after this store never open a connection twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from onevip.engines.bpf import libbpf, shapes
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Limits
from onevip.engines.room import LARGEST_LIMIT
from onevip.model import DataplaneError

if TYPE_CHECKING:
    from onevip.engines.bpf.loader import DataPlane

_PHASES = bytes(byte & 3 for byte in range(256))  # of a control word's lowest byte; 0 is free
SLOT_BYTES = shapes.CONNECTION.size
BUCKET_BYTES = SLOT_BYTES * Limits.WAYS
FIRST_SLOTS = int(Limits.FIRST_BUCKETS * Limits.WAYS)
DEFAULT_LIMIT = 1 << 20  # connections
#: Grow at three tenths: half full is reached a second later at 26,000 new connections a second.
GROW_ABOVE = 0.3
#: Shrink when the first table would be filled to a tenth, and has been so for this long.
SHRINK_BELOW = 0.1
SHRINK_AFTER_S = 600.0


class Step(Enum):
    """What the tables need next."""

    NONE = "nothing"
    GROW = "grow"
    SHRINK = "shrink"
    RETIRE = "retire the old table"


@dataclass(frozen=True, slots=True)
class Room:
    """The tables as they are: `slots` of each that is in use, the one for new connections first.

    `counted` is what the sweeper found in its last round, `live` the same or what its newest
    sixteenth promises; `limit` the connections that the table grows for.
    """

    slots: tuple[int, ...]
    live: tuple[int, ...]
    counted: tuple[int, ...]
    limit: int

    def __str__(self) -> str:
        new, *old = self.slots
        text = f"new connections go to a table of {new:,} slots ({new * SLOT_BYTES >> 20} MiB)"
        if old:
            text += f"; {self.live[1]:,} are still in the old one of {old[0]:,}"
        return text

    @property
    def memory_bytes(self) -> int:
        return sum(self.slots) * SLOT_BYTES

    def step(self) -> Step:
        """What is due, but for shrinking, which is a matter of patience."""
        is_filling = self.live[0] > GROW_ABOVE * self.slots[0]
        if len(self.slots) > 1:
            if not self.live[1]:
                return Step.RETIRE
            return Step.GROW if is_filling and self.slots[1] > self.slots[0] else Step.NONE
        if self.slots[0] < slots_for(self.limit) and is_filling:
            return Step.GROW
        if self.slots[0] > FIRST_SLOTS and self.live[0] < SHRINK_BELOW * FIRST_SLOTS:
            return Step.SHRINK
        return Step.NONE


def slots_for(limit: int) -> int:
    """A power of two, at most half full at the limit: 128 bytes a connection."""
    return max(FIRST_SLOTS, 1 << (2 * limit - 1).bit_length())


class Tables:
    """Those of one data plane. The caller holds the writer lock when it changes anything."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def _path(self, table: int) -> Path:
        return self._plane.path / "maps" / f"connections-{table}"

    def _in_use(self) -> tuple[int, ...]:
        """The table for new connections, then the one that it grows out of, if any."""
        word = self._plane.settings.get(0, "tables")
        new = word >> 8
        old = (table for table in range(Limits.TABLES) if table != new and word >> table & 1)
        return (new, *old)

    def room(self) -> Room:
        in_use = self._in_use()  # once: without the lock, a table may come or go meanwhile
        buckets = self._plane.settings.get_many(0, "buckets")
        return Room(
            tuple(buckets[table] * Limits.WAYS for table in in_use),
            tuple(self._live(table) for table in in_use),
            tuple(sum(self._segments(table)) for table in in_use),
            self._plane.settings.get(0, "limit"),
        )

    def _live(self, table: int) -> int:
        """As of the last second, or what its newest sixteenth promises: a flood comes fast."""
        report, segments = self._plane.report, self._segments(table)
        buckets = self._plane.settings.get_many(0, "buckets")[table]
        newest = report.get_many(0, "cursor")[table] * Limits.SEGMENTS // buckets - 1
        return int(max(sum(segments), Limits.SEGMENTS * segments[newest]))

    def _segments(self, table: int) -> tuple[int, ...]:
        held = self._plane.report.get_many(0, "segment")
        return held[table * Limits.SEGMENTS :][: Limits.SEGMENTS]

    def open(self, *, writable: bool = False) -> list[MappedArray]:
        """The slots of each table in use, the one for new connections first. Needs no lock."""
        while True:
            in_use = self._in_use()
            try:
                return [self._map(table, writable) for table in in_use]
            except DataplaneError:  # a table went between the two
                if in_use == self._in_use():
                    raise

    def _map(self, table: int, writable: bool = False) -> MappedArray:
        fd = libbpf.get_pinned(self._path(table))
        slots = libbpf.map_entries(fd) * Limits.WAYS
        return MappedArray(fd, shapes.CONNECTION, slots, writable=writable)

    def create_first(self) -> None:
        """At load: one small table, for it is fast."""
        self._make(0, FIRST_SLOTS)
        self._plane.settings.set(0, "limit", DEFAULT_LIMIT)
        self._plane.settings.set(0, "tables", 1)

    def set_limit(self, connections: int) -> None:
        """Up to how many the table grows. Raises DataplaneError out of 1..2^24."""
        if not 1 <= connections <= LARGEST_LIMIT:
            raise DataplaneError(
                f"a limit of {connections} connections", f"from 1 to {LARGEST_LIMIT} are possible"
            )
        self._plane.settings.set(0, "limit", connections)

    def grow(self) -> bool:
        """New connections go to a table for the limit, or again to the larger one of two.

        False: that is on its way already, or the one there is is as large.
        """
        slots, *old = self.room().slots
        if old:
            if old[0] > slots:
                self._turn_back()
            return old[0] > slots
        wanted = slots_for(self._plane.settings.get(0, "limit"))
        return wanted > slots and self._turn(wanted)

    def why_not_grow(self) -> str:
        """What there is to do instead, in words."""
        room = self.room()
        if len(room.slots) > 1:
            return f"it is on its way, {room}: first these must end"
        return (
            f"its {room.slots[0]:,} slots are enough for {room.limit:,} connections:"
            " raise the limit first, onevip connections --limit"
        )

    def _turn_back(self) -> None:
        now, old = self._in_use()
        self._wait_for_programs(now)  # perhaps who made the second table was killed before
        self._plane.settings.set(0, "tables", 1 << now | 1 << old | old << 8)

    def shrink(self) -> bool:
        """New connections go to a table of the first size."""
        return self._turn(FIRST_SLOTS)

    def _turn(self, slots: int) -> bool:
        now, *old = self._in_use()
        if old or self.room().slots[0] == slots:
            return False
        new = 1 - now
        self._make(new, slots)
        both = 1 << now | 1 << new
        self._plane.settings.set(0, "tables", both | now << 8)
        self._wait_for_programs(now)
        self._plane.settings.set(0, "tables", both | new << 8)
        return True

    def _make(self, table: int, slots: int) -> None:
        """An empty table in this place, not searched yet."""
        buckets = slots // Limits.WAYS
        path = self._path(table)
        path.unlink(missing_ok=True)  # of one who was killed
        fd = libbpf.array_create("connections", BUCKET_BYTES, buckets)
        try:
            libbpf.pin(fd, path)
            self._put(table, fd)
        finally:
            os.close(fd)
        settings, report = self._plane.settings, self._plane.report
        settings.set_item(0, "buckets", table, buckets)
        for field in ("rounds", "cursor", "counted"):
            report.set_item(0, field, table, 0)
        for segment in range(Limits.SEGMENTS):
            report.set_item(0, "segment", table * Limits.SEGMENTS + segment, 0)

    def _put(self, table: int, fd: int) -> None:
        """Into the outer map. The kernel returns when no program sees the older one any more."""
        outer = libbpf.get_pinned(self._plane.path / "maps" / "tables")
        try:
            libbpf.map_update(outer, table.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        finally:
            os.close(outer)

    def retire(self) -> bool:
        """The old table goes if it is empty. False: it is not, or there is none."""
        new, *old = self._in_use()
        if not old:
            return False
        self._wait_for_programs(new)  # who still inserted into the old table has done so
        phases = self._map(old[0]).column("control").translate(_PHASES)
        if phases.strip(b"\0"):
            return False
        self._plane.settings.set(0, "tables", 1 << new | new << 8)
        self._wait_for_programs(new)
        self._remove(old[0])
        return True

    def _wait_for_programs(self, table: int) -> None:
        """An RCU grace period: the kernel waits for one at each change of the outer map."""
        fd = libbpf.get_pinned(self._path(table))
        try:
            self._put(table, fd)
        finally:
            os.close(fd)

    def _remove(self, table: int) -> None:
        outer = libbpf.get_pinned(self._plane.path / "maps" / "tables")
        try:
            libbpf.map_delete(outer, table.to_bytes(4, "little"))
        finally:
            os.close(outer)
        self._path(table).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Gives back a table that nobody searches, of a growth or a retirement that was killed."""
        new, *old = self._in_use()
        if not old and self._path(1 - new).exists():
            self._wait_for_programs(new)
            self._remove(1 - new)

    def take(self, step: Step) -> bool:
        """Do it. False: there was nothing to do after all."""
        if step is Step.GROW:
            return self.grow()
        if step is Step.SHRINK:
            return self.shrink()
        return step is Step.RETIRE and self.retire()
