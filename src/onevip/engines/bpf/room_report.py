"""Tells how much room the connection tables have, from settings, sweeper and doors. Only reads."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from onevip.engines.bpf import shapes
from onevip.engines.bpf.shapes import Door
from onevip.engines.bpf.tables import (
    FIRST_SLOTS,
    GROW_ABOVE,
    SHRINK_AFTER_S,
    SHRINK_BELOW,
    SLOT_BYTES,
    slots_for,
)
from onevip.engines.room import GrowthRules, RoomReport, TableRoom

if TYPE_CHECKING:
    from onevip.engines.bpf.loader import DataPlane


def of(plane: DataPlane) -> RoomReport:
    """Of one data plane, without a lock: a table that grows meanwhile is seen or not."""
    room, report = plane.tables.room(), plane.report
    doors = [plane.door_counters.total(door) for door in range(Door.DOORS)]
    totals = map(sum, zip(*doors, strict=True))
    counted = dict(zip(shapes.DOOR_COUNTERS.fields, totals, strict=True))
    return RoomReport(
        tuple(map(_table, room.slots, room.counted)),
        room.limit,
        GrowthRules(
            _table(slots_for(room.limit)),
            int(GROW_ABOVE * room.slots[0]),
            _table(FIRST_SLOTS),
            math.ceil(SHRINK_BELOW * FIRST_SLOTS),
            SHRINK_AFTER_S,
        ),
        counted["table_full"],
        counted["table_busy"],
        counted["evicted_inactive"],
        counted["evicted_half_open"],
        report.get(0, "expired"),
        report.get(0, "ticks"),
        max(0.0, (time.monotonic_ns() - report.get(0, "clock_ns")) / 1e9),
    )


def _table(slots: int, live: int = 0) -> TableRoom:
    return TableRoom(slots, live, slots * SLOT_BYTES)
