"""Results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Result

HEAD = ("case", "raw", "net", "least", "floor", "ratio", "goal", "")
REACHED = {True: "reached", False: "MISSED", None: ""}


def row(result: Result) -> tuple[str, ...]:
    """`raw` is what the ratio says of the floor: the whole cost, floor included."""
    return (
        result.case,
        f"{result.ratio * result.floor:.0f}",
        f"{result.value:.0f} {result.unit}",
        "" if result.least is None else f"{result.least:.0f}",
        f"{result.floor:.1f}",
        f"{result.ratio:.2f}",
        "" if result.goal is None else f"{result.goal:.2f}",
        " ".join(filter(None, (REACHED[result.is_reached], result.note))),
    )


def table(results: Sequence[Result]) -> str:
    """Aligned columns: words to the left, numbers to the right."""
    rows = [HEAD, *map(row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(HEAD) - 1
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
    return f"{result.case}: {result.value:.0f} {result.unit}, ratio {result.ratio:.2f}"
