"""What was measured, and the file that keeps it. Measures nothing, draws nothing.

benchmarks/results/latest.json is a list with one flat object for each case. Every object says by
which section, where, when and from which commit it was measured, so that a run of one section may
leave the others' objects as they are.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.json"
PICTURE = LATEST.with_suffix(".svg")


@dataclass(frozen=True, slots=True)
class Result:
    """One case. `ratio` says how often the cost contains `floor`, measured in the same run.

    What a section's `value` and `ratio` are exactly is told by its own docstring. Figures of
    shared machines drift by half; ratios travel.
    """

    case: str
    value: float  # median
    unit: str
    floor: float  # in the same unit
    ratio: float
    goal: float | None = None  # the highest ratio that is good enough
    least: float | None = None  # the lowest value of all rounds
    note: str = ""  # what else a reader must know
    kernel: str = ""  # only where it is not this machine's

    @property
    def group(self) -> str:
        """What cases that belong together have in common: all before the first comma."""
        return self.case.partition(",")[0]

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is; None without one."""
        return None if self.goal is None else self.ratio <= self.goal


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and from what a result was measured."""

    kernel: str
    cpu: str
    commit: str
    date: str

    @classmethod
    def now(cls) -> Surroundings:
        return cls(os.uname().release, _cpu(), _commit(), datetime.now(UTC).date().isoformat())


@dataclass(frozen=True, slots=True)
class Measured:
    """A result as the file keeps it."""

    section: str
    result: Result
    surroundings: Surroundings

    def as_row(self) -> dict[str, object]:
        """Flat; a result's own kernel counts more than the machine's."""
        result = {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self.result).items()
        }
        kernel = result.pop("kernel") or self.surroundings.kernel
        return {"section": self.section, **result, **asdict(self.surroundings), "kernel": kernel}

    @classmethod
    def of_row(cls, row: dict[str, object]) -> Measured:
        """Raises TypeError for a row of another layout."""
        values = dict(row)
        section = str(values.pop("section"))
        where = Surroundings(*(str(values.pop(n)) for n in ("kernel", "cpu", "commit", "date")))
        return cls(section, Result(**values), where)  # type: ignore[arg-type]


def merged(
    kept: Iterable[Measured], section: str, new: Sequence[Measured], *, is_whole: bool
) -> list[Measured]:
    """What stands in the file after a run of one section.

    A whole run replaces all results of its section; a selection only those of its own cases,
    where they stand.
    """
    fresh = {one.result.case: one for one in new}
    stay = [
        one if one.section != section else fresh.pop(one.result.case, one)
        for one in kept
        if not (is_whole and one.section == section)
    ]
    return [*stay, *fresh.values()]


def load(path: Path = LATEST) -> list[Measured]:
    """What the file holds; nothing when there is none."""
    if not path.exists():
        return []
    return [Measured.of_row(row) for row in json.loads(path.read_text())]


def save(measured: Iterable[Measured], path: Path = LATEST) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [one.as_row() for one in measured]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return os.uname().machine  # not every architecture names its model


def _commit() -> str:
    """Of what is measured; `+` when files differ from it, other than those written here."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + "+" * bool(_git("status", "--porcelain", "-uno", "--", ":!*/results/*"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # an unpacked archive


def _git(*words: str) -> str:
    argv = ["git", "-C", str(HERE.parent), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
