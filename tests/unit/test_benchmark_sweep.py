"""The price of expiry: the arithmetic of what was seen. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.stall import Stall, largest, longest_gaps
from benchmarks.sweep import Ended, Swept


def clocks(*readings: tuple[int, int]) -> Iterator[tuple[int, int]]:
    return iter(readings)


def test_the_largest_gap_of_each_clock() -> None:
    seen = clocks((0, 0), (10, 10), (500, 40), (600, 130), (1000, 140), (9000, 9000))
    assert longest_gaps(lambda: next(seen), 1000) == Stall(wall_ns=490, own_ns=90)


def test_a_gap_over_the_end_counts() -> None:
    seen = clocks((0, 0), (10, 10), (5000, 20))
    assert longest_gaps(lambda: next(seen), 1000) == Stall(wall_ns=4990, own_ns=10)


def test_the_worst_of_all_cpus_by_each_clock() -> None:
    assert largest(iter([Stall(5, 1), Stall(3, 2)])) == Stall(5, 2)


def test_what_a_sweep_takes_of_one_cpu() -> None:
    swept = Swept(seconds=4.0, spent_ns=40_000_000, longest_ns=120_000, ticks=1000, rounds=4)
    assert (swept.share, swept.longest_ms) == (1.0, 0.12)
    assert swept.note == "a tick 40 us, a round 1.00 s"


@pytest.mark.parametrize(
    ("opened", "gone", "late", "early"),
    [
        pytest.param((1.0, 1.1), 4.5, 0.5, -0.4, id="late"),
        pytest.param((1.0, 1.1), 4.0, 0.0, 0.1, id="early, if it was opened late"),
        pytest.param((1.0, 1.1), 3.5, -0.5, 0.6, id="early"),
    ],
)
def test_late_and_early_are_told_so_that_no_goal_is_reached_by_looking_seldom(
    opened: tuple[float, float], gone: float, late: float, early: float
) -> None:
    ended = Ended(opened, gone)
    assert ended.latest(3.0) == pytest.approx(late)
    assert ended.earliest(3.0) == pytest.approx(early)
