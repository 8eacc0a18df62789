"""How much room an engine has for connections, told at one moment. A value; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

#: Connections that a table may be made for: it is 2 GiB then, which is swept in 16 seconds.
LARGEST_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True)
class TableRoom:
    """One table: places for connections, and how many were held in the sweeper's last second."""

    slots: int
    live: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class GrowthRules:
    """When a table grows and goes back, in connections. Who looks is the engine's matter."""

    grown: TableRoom  # the empty table that is made for the limit
    grows_above: int
    first: TableRoom  # the one that it goes back to
    shrinks_below: int
    shrinks_after_s: float


@dataclass(frozen=True, slots=True)
class RoomReport:
    """The tables, the one for new connections first; the counters are since loading."""

    tables: tuple[TableRoom, ...]
    limit: int  # connections that the table grows for
    rules: GrowthRules
    table_full: int  # refused: every place was held by an established connection
    table_busy: int  # refused: other CPUs held the bucket
    evicted_inactive: int
    evicted_half_open: int
    expired: int
    ticks: int  # of the sweeper
    since_tick_s: float

    @property
    def memory_bytes(self) -> int:
        return sum(table.memory_bytes for table in self.tables)

    @property
    def stands_still(self) -> bool:
        """It ticks 256 times a second: a whole second without one is no delay."""
        return self.since_tick_s > 1

    @property
    def may_grow(self) -> bool:
        """Whether the table for new connections is smaller than the limit asks for."""
        return self.tables[0].slots < self.rules.grown.slots
