"""Which bars a section's results become: what is drawn, how long, beside what. Pure.

Not everything that is measured is drawn: in `packets`, `sweep` and `listing` only what has a goal
or something to be compared with; the rest stands in results/latest.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from benchmarks.reference import STATELESS_XDP
from benchmarks.report import figure
from benchmarks.results import Result

PRIMITIVES = {"one HASH lookup"}  # groups that are drawn for comparison
IPVS, OURS = "kernel IPVS", "onevip"


class Kind(StrEnum):
    """How a bar looks: a class of the picture's style sheet."""

    OURS = "bar"
    MISSED = "over"
    OTHER = "theirs"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row. `amount`, `goal` and `theirs` are on the panel's scale."""

    group: str  # told once, for neighbours of the same
    label: str
    amount: float
    number: str
    kind: Kind
    goal: float | None = None
    theirs: tuple[float, float] | None = None  # a second bar: lowest and highest
    note: str = ""


def blocks_of(section: str, results: Sequence[Result]) -> list[list[Bar]]:
    """In the order of the results. A block is a group, or neighbours that are alone in theirs."""
    draw = {
        "packets": _packets, "instructions": _instructions, "endtoend": _endtoend,
        "sweep": _sweep,
    }  # fmt: skip
    bars = draw.get(section, _with_goals)(results)
    groups = [list(group) for _, group in groupby(bars, key=lambda bar: bar.group)]
    blocks: list[list[Bar]] = []
    for are_alone, some in groupby(groups, key=lambda group: len(group) == 1):
        found = list(some)
        blocks += [[bar for group in found for bar in group]] if are_alone else found
    return blocks


def _bar(result: Result, *, is_ours: bool = True, theirs: tuple[float, float] | None = None) -> Bar:
    """By its ratio."""
    missed = result.is_reached is False
    return Bar(
        result.group,
        result.case.removeprefix(result.group).removeprefix(", "),
        result.ratio,
        f"{result.ratio:.2f}" if result.ratio < 5 else f"{result.ratio:.1f}",
        Kind.MISSED if missed else Kind.OURS if is_ours else Kind.OTHER,
        result.goal,
        theirs,
        result.note,
    )


def _with_goals(results: Sequence[Result]) -> Iterator[Bar]:
    return (_bar(one) for one in results if one.goal is not None)


def _sweep(results: Sequence[Result]) -> Iterator[Bar]:
    """Parts of what is allowed, with their values."""
    for one in results:
        if one.goal is not None:
            yield replace(_bar(one), number=f"{figure(one.value)} {one.unit}", note="")


def _packets(results: Sequence[Result]) -> Iterator[Bar]:
    for one in results:
        theirs, is_price = STATELESS_XDP.get(one.case), one.group in PRIMITIVES
        if one.goal is not None or theirs or is_price:
            yield _bar(one, is_ours=not is_price, theirs=theirs)


def _instructions(results: Sequence[Result]) -> Iterator[Bar]:
    """By value: the kernel's IPVS is drawn beside each of ours, not by itself."""
    values = {one.case: one.value for one in results}
    for one in results:
        what, _, who = one.case.rpartition(", ")
        if who == IPVS:
            continue
        is_ours = who.startswith(OURS)
        ipvs = values.get(f"{what}, {IPVS}", 0.0)
        yield Bar(
            one.group,
            one.case.removeprefix(one.group).removeprefix(", "),
            one.value,
            f"{one.value:,.0f}",
            Kind.MISSED if one.is_reached is False else Kind.OURS if is_ours else Kind.OTHER,
            None if one.goal is None else one.goal * one.value / one.ratio,
            (ipvs, ipvs) if ipvs and is_ours else None,
            f"{ipvs / one.value:.1f} times fewer" if ipvs > one.value and is_ours else "",
        )


def _endtoend(results: Sequence[Result]) -> Iterator[Bar]:
    for one in results:
        who = one.case.rpartition(", ")[2]
        if who != "no balancer":
            yield _bar(one, is_ours=who.startswith(OURS))
