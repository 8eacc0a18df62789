"""Section `packets`: nanoseconds for each packet at the xdp door, by BPF_PROG_TEST_RUN.

`value` is net: T(wrapper + program) - T(wrapper + bare program of the same verdict), as
measuring.py tells. `floor` is the empty program of the same run, without wrapper. `ratio` is
raw ÷ empty program, where raw = net + empty program: the definition behind the goals.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import network, primitives, report
from benchmarks.cases import CASES, MANY, Case
from benchmarks.generator import Generator
from benchmarks.measuring import Cost, pinned
from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.rig import Rig
from benchmarks.sections import BenchmarkError, Incomplete
from benchmarks.stage import LeftOut, staged
from benchmarks.traffic import plain

PACKETS, QUICK_PACKETS = 3 * MANY, MANY  # a round meets each of 128k flows equally often
ROUNDS, QUICK_ROUNDS = 7, 3


def run(options: Options) -> list[Result]:
    """Raises Incomplete when a guard failed."""
    with tempfile.TemporaryDirectory(prefix="onevip-bench-") as directory, network.namespace():
        builds = Path(directory)
        generator = Generator(builds)
        try:
            generator.check(plain(MANY))
            rig = Rig(
                generator,
                plain(),
                QUICK_PACKETS if options.quick else PACKETS,
                QUICK_ROUNDS if options.quick else ROUNDS,
            )
            with pinned():
                return _measured(options, rig, builds)
        finally:
            generator.close()


def _measured(options: Options, rig: Rig, builds: Path) -> list[Result]:
    results: dict[str, Result] = {}
    problems: list[str] = []
    for case in CASES:
        if not options.wants(case.name):
            continue
        try:
            result = _result(case, results, builds, rig)
        except LeftOut as reason:
            print(f"{case.name}: left out: {reason}", flush=True)
        except BenchmarkError as error:
            print(f"{case.name}: NO RESULT: {error}", file=sys.stderr, flush=True)
            problems.append(f"{case.name}: {error}")
        else:
            results[case.name] = result
    for name, measure in primitives.all_of(rig).items():
        results[name] = _as_result(name, measure())
    if problems:
        raise Incomplete(list(results.values()), problems)
    return list(results.values())


def _result(case: Case, others: dict[str, Result], builds: Path, rig: Rig) -> Result:
    with staged(case, builds) as stage:
        measured = stage.measure(rig)
        share = stage.table_full
    note = f"{share:.1%} found no place" if share else ""
    result = _as_result(case.name, measured.cost, goal_of(case, others), note)
    clocks = (
        f"with wrapper {measured.whole_ns:.0f} ns, {measured.kernel_ns:.0f} by the kernel's clock"
    )
    print(f"{report.line(result)} ({clocks})", flush=True)
    return result


def goal_of(case: Case, others: dict[str, Result]) -> float | None:
    """Its own, or a multiple of another case's ratio; None when that was not measured."""
    if case.goal_of is None:
        return case.goal
    name, factor = case.goal_of
    return others[name].ratio * factor if name in others else None


def _as_result(name: str, cost: Cost, goal: float | None = None, note: str = "") -> Result:
    return Result(name, cost.net, "ns", cost.empty, cost.ratio, goal, cost.least, note)
