"""A thousand checks a second in one process: what one costs, by type.

In a network namespace of its own, against servers on its loopback. The floor is a bare asyncio
program that makes a thousand TCP connections a second and closes them: it sleeps and wakes as
often. `value` and `floor` are microseconds of CPU time for each check, of the checking process
alone; medians of the rounds, floor and cases by turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError
from onevip.lab.namespace import ENVIRONMENT, Namespace

ROUNDS = 5
#: Of the Perl program's 1,500 to 2,500 us for an http check, the checker may need a quarter.
GOALS = {"connect": 2.5, "ping": 2.0, "http": 6.0}
HERE = Path(__file__).resolve().parents[1]


def run(options: Options) -> list[Result]:
    cases = [case for case in GOALS if options.wants(case)]
    rounds = [_round(cases) for _ in range(1 if options.quick else ROUNDS)]
    floor = median(one["floor"] for one in rounds)
    return [
        Result(
            case,
            median(one[case] for one in rounds),
            "us",
            floor,
            median(one[case] / one["floor"] for one in rounds),
            GOALS[case],
        )
        for case in cases
    ]


def _round(cases: list[str]) -> dict[str, float]:
    """CPU microseconds of a check, and of the floor's."""
    place = Namespace("onevip-bench-checks")
    place.create()
    try:
        place.ip("link set lo up")
        done = subprocess.run(
            place.inside(sys.executable, "-m", "benchmarks.checking", *cases),
            capture_output=True,
            text=True,
            check=False,
            cwd=HERE,
            env=ENVIRONMENT,
            timeout=120,
        )
    finally:
        place.remove()
    if done.returncode:
        raise BenchmarkError(f"no result: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
