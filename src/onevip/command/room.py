"""The words of `onevip connections --room`, `--limit` and `--grow`: a RoomReport as text. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from onevip.engines.room import LARGEST_LIMIT, RoomReport, TableRoom
from onevip.model import UsageError


def read_limit(text: str) -> int:
    """The number of `--limit`. Raises UsageError."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_LIMIT:
        return int(text)
    raise UsageError(
        f"connections: --limit {text}: no number of connections from 1 to {LARGEST_LIMIT:,};"
        " write 2097152"
    )


def shown(room: RoomReport) -> Iterator[str]:
    """The lines of `--room`."""
    yield f"{'Table':<8} {'Slots':>12} {'Live':>12} {'Full':>7} {'Memory':>10}"
    for name, table in zip(("new", "old"), room.tables, strict=False):
        memory = _memory(table)
        yield f"{name:<8} {table.slots:>12,} {table.live:>12,} {_full(table):>6}% {memory:>10}"
    yield ""
    yield f"{'Limit':<8} {_growth(room)}"
    yield f"{'Memory':<8} {_memories(room)}"
    yield f"{'Refused':<8} {room.table_full:,} table full, {room.table_busy:,} table busy"
    yield (
        f"{'Evicted':<8} {room.evicted_inactive:,} inactive, {room.evicted_half_open:,} half-open"
    )
    yield f"{'Expired':<8} {room.expired:,}"
    yield f"{'Sweeper':<8} {_sweeper(room)}"


def as_json(room: RoomReport) -> str:
    """The same as one JSON object."""
    return json.dumps(
        {
            "tables": [
                {
                    "slots": table.slots, "live": table.live, "full_percent": float(_full(table)),
                    "bytes": table.memory_bytes,
                }
                for table in room.tables
            ],
            "limit": room.limit,
            "bytes": room.memory_bytes,
            "grown_slots": room.rules.grown.slots,
            "grown_bytes": room.rules.grown.memory_bytes,
            "refused": {"table_full": room.table_full, "table_busy": room.table_busy},
            "evicted": {"inactive": room.evicted_inactive, "half_open": room.evicted_half_open},
            "expired": room.expired,
            "sweeper": {
                "ticks": room.ticks, "since_tick_s": round(room.since_tick_s, 3),
                "stands_still": room.stands_still,
            },
        }
    )  # fmt: skip


def limited(room: RoomReport) -> str:
    """The answer to `--limit`: what happens now, and when."""
    rules, new, text = room.rules, room.tables[0], f"limit {room.limit:,} connections: "
    grown = rules.grown
    if not room.may_grow and new.slots > max(grown.slots, rules.first.slots):
        return (
            f"{text}the table stays at {_size(new)} while they are needed; onevip run takes it"
            f" back to {_size(rules.first)} when it has held fewer than"
            f" {rules.shrinks_below:,} for {rules.shrinks_after_s / 60:g} minutes"
        )
    if not room.may_grow:
        return f"{text}the table has {_size(new)}, which is enough: it does not grow"
    each = grown.memory_bytes // room.limit
    text += f"the table grows to {_size(grown)}, {each} bytes a connection, when "
    if len(room.tables) > 1:
        text += f"the {room.tables[1].live:,} connections in the old one have ended and "
    return (
        f"{text}more than {rules.grows_above:,} of its {new.slots:,} slots are in use;"
        " onevip run and every edit of the table see to that"
    )


def grown(room: RoomReport) -> str:
    """The answer to `--grow`, and to a `--limit` that made it grow."""
    new, old = room.tables
    return (
        f"new connections go to a table of {_size(new)}; the old one of {_size(old)} goes when"
        " its last connection has ended: onevip run and every edit of the table see to that"
    )


def _growth(room: RoomReport) -> str:
    text, grown = f"{room.limit:,} connections: ", room.rules.grown
    if not room.may_grow:
        return f"{text}the table does not grow any more"
    above = room.rules.grows_above
    return f"{text}the table grows to {grown.slots:,} slots when more than {above:,} are in use"


def _memories(room: RoomReport) -> str:
    text = f"{room.memory_bytes >> 20:,} MiB now"
    if not room.may_grow:
        return text
    return f"{text}, {_memory(room.rules.grown)} when grown, both while the old table is in use"


def _sweeper(room: RoomReport) -> str:
    text = f"{room.ticks:,} ticks, "
    if room.stands_still:
        return (
            f"{text}stands still for {room.since_tick_s:.0f} s: nothing expires;"
            " onevip run starts it again"
        )
    return f"{text}the last {room.since_tick_s * 1000:.0f} ms ago"


def _full(table: TableRoom) -> str:
    return f"{100 * table.live / table.slots:.1f}"


def _size(table: TableRoom) -> str:
    return f"{table.slots:,} slots ({_memory(table)})"


def _memory(table: TableRoom) -> str:
    return f"{table.memory_bytes >> 20:,} MiB"
