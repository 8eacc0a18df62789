"""Results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Result

HEAD = ("case", "raw", "net", "least", "floor", "ratio", "goal", "")
RAW = HEAD.index("raw")
#: Sections whose ratio times the floor is a cost: what a packet costs, floor included.
WITH_RAW = frozenset({"packets"})
REACHED = {True: "reached", False: "MISSED", None: ""}


def figure(value: float) -> str:
    """Two or three digits that count, whatever the unit."""
    decimals = 0 if value >= 100 or not value else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def row(result: Result) -> tuple[str, ...]:
    """`raw` is what the ratio says of the floor."""
    return (
        result.case,
        f"{result.ratio * result.floor:.0f}",
        f"{figure(result.value)} {result.unit}",
        "" if result.least is None else figure(result.least),
        figure(result.floor),
        f"{result.ratio:.2f}",
        "" if result.goal is None else f"{result.goal:.2f}",
        " ".join(filter(None, (REACHED[result.is_reached], result.note))),
    )


def table(results: Sequence[Result], section: str) -> str:
    """Aligned columns: words to the left, numbers to the right."""
    rows = [HEAD, *map(row, results)]
    if section not in WITH_RAW:
        rows = [one[:RAW] + one[RAW + 1 :] for one in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = (
        "  ".join(
            text.ljust(width) if at in (0, last) else text.rjust(width)
            for at, (text, width) in enumerate(zip(one, widths, strict=True))
        ).rstrip()
        for one in rows
    )
    return "\n".join(lines)


def line(result: Result) -> str:
    """One result while others are still to come."""
    return f"{result.case}: {figure(result.value)} {result.unit}, ratio {result.ratio:.2f}"
