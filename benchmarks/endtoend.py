"""CPU time of a request, end to end: client, director and real servers in one cgroup.

Every balancer of balancers.py serves the same three loads by wrk, in rounds: all of them once, then
all again. Each measurement has a fresh cluster, so tables are empty and no other balancer's timers
run. `value` is the median of microseconds of CPU for a request (bulk: for a MB), `floor` is that
of no balancer, and `ratio` is the median of the ratios to no balancer of the same round: the raw
rates of a shared machine swing, the ratios of a round much less.

"No balancer": the same client, connections and real servers on the same switch, half of the
connections addressed to each real server; the director stands beside, and no packet passes it.
"Kernel forwarding" is the same with the director as a router, for requests and replies.
A run with an error of wrk's, or whose balancer has not counted the requests, is no result.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import needed, report
from benchmarks.balancers import BALANCERS, BULK_MB, NO_BALANCER, Balancer, Stage, standing
from benchmarks.cpu import Cgroup, cgroup, handed_to_ksoftirqd_us, require_whole_times
from benchmarks.load import Load, command, parse
from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError
from onevip.lab.cluster import interruptible, only_one
from onevip.model import OnevipError

ROUNDS = 5
SECONDS, QUICK_SECONDS = 2, 1
MB = 1 << 20
WARM_S = 1  # workers start, neighbours and ways are found


@dataclass(frozen=True, slots=True)
class Column:
    """One kind of load. `most`: the goal of the tc door, times no balancer."""

    name: str
    path: str
    connections: int  # of each of the two clients
    most: float
    is_closing: bool = False
    by_mb: bool = False

    def amount(self, load: Load) -> float:
        """What the CPU time is divided by: requests or MB."""
        return load.read_bytes / MB if self.by_mb else load.requests

    @property
    def unit(self) -> str:
        return "us CPU/MB" if self.by_mb else "us CPU/request"


COLUMNS = (
    Column("keep-alive", "/", 25, most=1.2),
    Column("new connection", "/", 25, most=1.15, is_closing=True),
    Column(f"{BULK_MB} MB", "/bulk", 2, most=1.05, by_mb=True),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One balancer, one load, one round."""

    column: Column
    balancer: Balancer
    cost_us: float


# Measuring.


def measure(stage: Stage, balancer: Balancer, column: Column, seconds: int) -> tuple[Load, int]:
    """The load that wrk brought about, and the CPU time of all in microseconds."""
    before = stage.cgroup.used_us()
    clients = [
        subprocess.Popen(
            stage.cgroup.command(
                *stage.client.inside(
                    *command(
                        f"http://{target}{column.path}", seconds, column.connections,
                        is_closing=column.is_closing,
                    )
                )
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for target in balancer.targets
    ]  # fmt: skip
    try:
        reports = [client.communicate(timeout=seconds + 20)[0] for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    load = sum((parse(text) for text in reports), Load(0, 0))
    return load, stage.cgroup.used_us() - before


def check(what: str, load: Load, counted: int | None) -> None:
    """`counted`: packets that the balancer says it has carried meanwhile; None: there is none."""
    if load.errors or not load.requests:
        raise BenchmarkError(f"{what}: {load.requests} requests, {'; '.join(load.errors)}")
    if counted is not None and counted < load.requests:
        raise BenchmarkError(
            f"{what}: {load.requests} requests, but the balancer counted {counted} packets"
        )


def measure_balancer(
    balancer: Balancer, columns: Iterable[Column], group: Cgroup, seconds: int
) -> list[Measured]:
    """All loads on one cluster."""
    found = []
    with standing(balancer, group, f"onevip-b{os.getpid()}-") as (stage, count):
        measure(stage, balancer, COLUMNS[0], WARM_S)
        for column in columns:
            before = count() if count else None
            load, used_us = measure(stage, balancer, column, seconds)
            carried = None if count is None or before is None else count() - before
            check(f"{column.name}, {balancer.name}", load, carried)
            found.append(Measured(column, balancer, used_us / column.amount(load)))
    return found


def measure_rounds(options: Options, columns: Sequence[Column]) -> list[list[Measured]]:
    balancers = [one for one in BALANCERS if one is NO_BALANCER or wanted(one, columns, options)]
    seconds = QUICK_SECONDS if options.quick else SECONDS
    rounds = []
    with only_one("benchmark"), interruptible(), cgroup() as group:
        for number in range(1 if options.quick else ROUNDS):
            ordered = balancers if number % 2 == 0 else balancers[::-1]
            rounds.append(
                [
                    measured
                    for balancer in ordered
                    for measured in measure_balancer(balancer, columns, group, seconds)
                ]
            )
    return rounds


# Results.


def case_name(column: Column, balancer: Balancer) -> str:
    return f"{column.name}, {balancer.name}"


def wanted(balancer: Balancer, columns: Iterable[Column], options: Options) -> bool:
    return any(options.wants(case_name(column, balancer)) for column in columns)


def results_of(rounds: Sequence[Sequence[Measured]], options: Options) -> list[Result]:
    """Medians over the rounds, in the order of the columns and balancers."""
    costs = [{(one.column, one.balancer): one.cost_us for one in each} for each in rounds]
    results = []
    for column in COLUMNS:
        for balancer in BALANCERS:
            key, base = (column, balancer), (column, NO_BALANCER)
            if key not in costs[0] or not options.wants(case_name(*key)):
                continue
            results.append(
                Result(
                    case_name(*key),
                    statistics.median(cost[key] for cost in costs),
                    column.unit,
                    statistics.median(cost[base] for cost in costs),
                    statistics.median(cost[key] / cost[base] for cost in costs),
                    column.most if balancer.is_ours else None,
                    least=min(cost[key] for cost in costs),
                )
            )
    return results


def run(options: Options) -> list[Result]:
    needed.require("wrk", "nginx", str(needed.NGINX_STREAM), "haproxy", "nft", "ethtool")
    require_whole_times()
    columns = [
        column for column in COLUMNS if any(wanted(one, [column], options) for one in BALANCERS)
    ]
    elsewhere, began = handed_to_ksoftirqd_us(), time.monotonic()
    rounds = measure_rounds(options, columns)
    share = (handed_to_ksoftirqd_us() - elsewhere) / (time.monotonic() - began) / 1e6
    print(f"ksoftirqd of the whole machine meanwhile: {share:.1%} of one CPU, not counted")
    return results_of(rounds, options)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endtoend")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name has this")
    parser.add_argument("--quick", action="store_true", help="one short round, to try it out")
    given = parser.parse_args(argv)
    options = Options(only=given.only, quick=given.quick)
    print(report.table(run(options), "endtoend"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchmarkError, OnevipError) as error:
        sys.exit(f"endtoend: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
