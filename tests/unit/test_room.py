"""`onevip connections --room`, `--limit`, `--grow`, and the rule by which a table grows."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from onevip.command.connections import main
from onevip.command.environment import Environment
from onevip.engines.bpf.tables import FIRST_SLOTS, LARGEST_LIMIT, Room, Step, slots_for
from onevip.engines.memory import MemoryEngine
from onevip.engines.room import GrowthRules, RoomReport, TableRoom
from onevip.model import DataplaneError, UsageError


def table(slots: int, live: int = 0) -> TableRoom:
    return TableRoom(slots, live, slots * 64)


SMALL = RoomReport(
    tables=(table(131_072, 12_345),),
    limit=1 << 20,
    rules=GrowthRules(table(2 << 20), 39_321, table(131_072), 13_108, 600.0),
    table_full=1,
    table_busy=2,
    evicted_inactive=3,
    evicted_half_open=4,
    expired=56_789,
    ticks=1_000_000,
    since_tick_s=0.0031,
)
GROWING = replace(SMALL, tables=(table(2 << 20, 700), table(131_072, 40_000)))
GROWN = replace(SMALL, tables=(table(2 << 20, 700),))


class Connections:
    """`connections("--room")` returns what it printed."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.engine.reported = SMALL

    def __call__(self, *argv: str) -> str:
        out = io.StringIO()
        assert main(list(argv), Environment(stdout=out, engine=lambda: self.engine)) == 0
        return out.getvalue()


@pytest.fixture
def connections() -> Connections:
    return Connections()


def test_the_room_of_a_small_table(connections: Connections) -> None:
    assert connections("--room") == (
        "Table           Slots         Live    Full     Memory\n"
        "new           131,072       12,345    9.4%      8 MiB\n"
        "\n"
        "Limit    1,048,576 connections: the table grows to 2,097,152 slots when more than 39,321"
        " are in use\n"
        "Memory   8 MiB now, 128 MiB when grown, both while the old table is in use\n"
        "Refused  1 table full, 2 table busy\n"
        "Evicted  3 inactive, 4 half-open\n"
        "Expired  56,789\n"
        "Sweeper  1,000,000 ticks, the last 3 ms ago\n"
    )


def test_the_room_while_it_grows(connections: Connections) -> None:
    connections.engine.reported = GROWING
    lines = connections("--room").splitlines()
    assert lines[1:3] == [
        "new         2,097,152          700    0.0%    128 MiB",
        "old           131,072       40,000   30.5%      8 MiB",
    ]
    assert "Limit    1,048,576 connections: the table does not grow any more" in lines
    assert "Memory   136 MiB now" in lines


def test_a_sweeper_that_stands_still_is_told(connections: Connections) -> None:
    connections.engine.reported = replace(SMALL, since_tick_s=7.4)
    assert connections("--room").splitlines()[-1] == (
        "Sweeper  1,000,000 ticks, stands still for 7 s: nothing expires;"
        " onevip run starts it again"
    )


def test_the_room_as_json(connections: Connections) -> None:
    assert json.loads(connections("--room", "--json")) == {
        "tables": [
            {"slots": 131_072, "live": 12_345, "full_percent": 9.4, "bytes": 8 << 20},
        ],
        "limit": 1 << 20,
        "bytes": 8 << 20,
        "grown_slots": 2 << 20,
        "grown_bytes": 128 << 20,
        "refused": {"table_full": 1, "table_busy": 2},
        "evicted": {"inactive": 3, "half_open": 4},
        "expired": 56_789,
        "sweeper": {"ticks": 1_000_000, "since_tick_s": 0.003, "stands_still": False},
    }


def test_a_limit_is_set_and_what_it_means_is_told(connections: Connections) -> None:
    larger = replace(SMALL.rules, grown=table(4 << 20))
    connections.engine.reported = replace(SMALL, rules=larger)
    assert connections("--limit", "2097152") == (
        "limit 2,097,152 connections: the table grows to 4,194,304 slots (256 MiB), 128 bytes a"
        " connection, when more than 39,321 of its 131,072 slots are in use; onevip run and every"
        " edit of the table see to that\n"
    )
    assert connections.engine.room().limit == 2_097_152


def test_a_limit_above_a_table_that_is_growing(connections: Connections) -> None:
    rules = replace(SMALL.rules, grown=table(4 << 20), grows_above=629_145)
    connections.engine.reported = replace(GROWING, rules=rules)
    assert (
        "when the 40,000 connections in the old one have ended and more than 629,145 of its"
        " 2,097,152 slots are in use;" in connections("--limit", "2097152")
    )


def test_a_limit_below_the_table_there_is(connections: Connections) -> None:
    rules = replace(SMALL.rules, grown=table(262_144))
    connections.engine.reported = replace(GROWN, rules=rules)
    assert connections("--limit", "100000") == (
        "limit 100,000 connections: the table stays at 2,097,152 slots (128 MiB) while they are"
        " needed; onevip run takes it back to 131,072 slots (8 MiB) when it has held fewer than"
        " 13,108 for 10 minutes\n"
    )


def test_a_limit_for_which_the_table_is_right(connections: Connections) -> None:
    connections.engine.reported = replace(SMALL, rules=replace(SMALL.rules, grown=table(131_072)))
    assert connections("--limit", "50000") == (
        "limit 50,000 connections: the table has 131,072 slots (8 MiB), which is enough: it does"
        " not grow\n"
    )


GROWS_NOW = (
    "new connections go to a table of 2,097,152 slots (128 MiB); the old one of 131,072 slots"
    " (8 MiB) goes when its last connection has ended: onevip run and every edit of the table see"
    " to that\n"
)


def test_it_grows_when_it_is_told_to(connections: Connections) -> None:
    assert connections("--grow") == GROWS_NOW
    assert [one.slots for one in connections.engine.room().tables] == [2 << 20, 131_072]
    with pytest.raises(DataplaneError, match="growing the connection table: "):
        connections("--grow")


def test_limit_and_grow_go_together(connections: Connections) -> None:
    first, second = connections("--limit", "1048576", "--grow").splitlines(keepends=True)
    assert first.startswith("limit 1,048,576 connections: the table grows to 2,097,152 slots")
    assert second == GROWS_NOW


def test_a_limit_that_makes_it_grow_at_once_says_so(connections: Connections) -> None:
    class Grows(MemoryEngine):
        def set_limit(self, connections: int) -> RoomReport:
            super().set_limit(connections)
            return self.grow()

    connections.engine = Grows()
    connections.engine.reported = SMALL
    assert connections("--limit", "1048576") == GROWS_NOW


@pytest.mark.parametrize("argv", ["--room", "--limit 1000", "--grow"])
def test_without_a_data_plane_there_is_no_room(connections: Connections, argv: str) -> None:
    connections.engine.reported = None
    with pytest.raises(DataplaneError, match="nothing is loaded"):
        connections(*argv.split())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--limit 0", "--limit 0: no number of connections from 1 to 16,777,216; write 2097152"),
        ("--limit 16777217", "--limit 16777217: no number of connections from 1 to 16,777,216"),
        ("--limit -5", "--limit -5: no number of connections"),
        ("--limit 1e6", "--limit 1e6: no number of connections"),
        ("--limit ٣", "--limit ٣: no number of connections"),  # an Arabic three
        ("--room --limit 5", "--room only shows: give --limit alone"),
        ("--room --grow", "--room only shows: give --grow alone"),
        ("--room --count", "--room is about the whole table: leave --count out"),
        ("--grow --client 192.0.2.7", "--grow is about the whole table: leave --client out"),
        ("--limit 5 --json", "--limit answers in words: leave --json out"),
    ],
)
def test_a_bad_line_says_what_and_changes_nothing(
    connections: Connections, argv: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        connections(*argv.split())
    assert str(caught.value).startswith(f"connections: {said}")
    assert connections.engine.reported == SMALL


# The rule.


def room(slots: int, live: int, limit: int, *, old: tuple[int, int] | None = None) -> Room:
    both = [(slots, live), *([old] if old else [])]
    lives = tuple(live for _, live in both)
    return Room(tuple(slots for slots, _ in both), lives, lives, limit)


@pytest.mark.parametrize(
    ("limit", "slots"),
    [(1, FIRST_SLOTS), (65_536, FIRST_SLOTS), (65_537, 2 * FIRST_SLOTS), (1 << 20, 2 << 20),
     ((1 << 20) + 1, 4 << 20), (LARGEST_LIMIT, 2 * LARGEST_LIMIT)],
)  # fmt: skip
def test_a_table_is_at_most_half_full_at_its_limit(limit: int, slots: int) -> None:
    assert slots_for(limit) == slots
    assert slots >= 2 * limit


@pytest.mark.parametrize(
    ("now", "step"),
    [
        (room(FIRST_SLOTS, 39_321, 1 << 20), Step.NONE),
        (room(FIRST_SLOTS, 39_322, 1 << 20), Step.GROW),
        (room(FIRST_SLOTS, 131_072, 65_536), Step.NONE),  # it is as large as its limit
        # grown to a smaller limit, which was raised: it grows again when the load asks for it
        (room(262_144, 78_643, 100_000), Step.NONE),
        (room(262_144, 78_643, 1 << 20), Step.NONE),
        (room(262_144, 78_644, 1 << 20), Step.GROW),
        # two tables at most: first the old one has to end
        (room(262_144, 200_000, 1 << 20, old=(FIRST_SLOTS, 1)), Step.NONE),
        (room(262_144, 200_000, 1 << 20, old=(FIRST_SLOTS, 0)), Step.RETIRE),
        # the limit was lowered: nothing shrinks while it is needed
        (room(2 << 20, 13_108, 1), Step.NONE),
        (room(2 << 20, 13_107, 1), Step.SHRINK),
        (room(2 << 20, 1 << 20, 1), Step.NONE),
    ],
)
def test_what_is_due(now: Room, step: Step) -> None:
    assert now.step() is step
