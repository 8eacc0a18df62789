"""The parts of the benchmark by name. A section is a module with `run(options)`.

Modules are imported when their section runs: each needs other things of the machine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from benchmarks.options import Options
from benchmarks.results import Result

Section = Callable[[Options], list[Result]]

SECTIONS = {
    "packets": "benchmarks.packets",
    "instructions": "benchmarks.instructions",
    "endtoend": "benchmarks.endtoend",
    "sweep": "benchmarks.sweep",
    "listing": "benchmarks.listing",
    "checks": "benchmarks.checks",
    "protocols": "benchmarks.protocols",
}


class BenchmarkError(Exception):
    """A run that is no result: what was not as intended, in one sentence."""


class Incomplete(BenchmarkError):
    """Some cases are no result; the others are."""

    def __init__(self, results: Sequence[Result], problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.results = list(results)


def section(name: str) -> Section:
    found: Section = importlib.import_module(SECTIONS[name]).run
    return found
