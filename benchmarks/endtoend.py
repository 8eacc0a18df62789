"""CPU time of a request, end to end: client, director and real servers in one cgroup.

Every balancer of balancers.py serves the same three loads by wrk, in rounds: all of them once, then
all again. Each has a fresh cluster in each round, and beside it stands one without a balancer: the
two serve by turns, N B N B N, and what a balancer took is divided by the mean of its neighbours, so
that the machine's drift cancels. `ratio` is the median of these, `note` tells the lowest and the
highest; `value` is the median of microseconds of CPU for a request (bulk: for a MB), `floor` that
of no balancer.

"No balancer": the same client and real servers on the same switch, and the client's own routing
table spreads connections to the VIP over them (two equal ways); the director stands beside, and no
packet passes it. Each client process so talks to both real servers, as with a balancer: where each
has one for itself, the two stay on one CPU, and that alone saves a tenth of a request's time.
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import needed, report
from benchmarks.balancers import BALANCERS, BULK_MB, NO_BALANCER, Balancer, Count, Stage, standing
from benchmarks.cpu import Cgroup, cgroup, handed_to_ksoftirqd_us, require_whole_times
from benchmarks.load import Load, command, parse
from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError
from onevip.lab.cluster import VIP, interruptible, only_one
from onevip.model import OnevipError

ROUNDS, TURNS = 3, 2  # turns of each round
SECONDS = 1  # of each measurement
CLIENTS = 2  # processes of wrk
MB = 1 << 20
WARM_S = 1  # workers start, neighbours and ways are found


@dataclass(frozen=True, slots=True)
class Column:
    """One kind of load. `most`: the goal of the tc door, times no balancer."""

    name: str
    path: str
    connections: int  # of each client
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
    Column(f"{BULK_MB} MB", "/bulk", 8, most=1.05, by_mb=True),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One balancer, one load, one turn."""

    column: Column
    balancer: Balancer
    cost_us: float
    before_us: float  # no balancer's, before and after
    after_us: float

    @property
    def base_us(self) -> float:
        return (self.before_us + self.after_us) / 2

    @property
    def ratio(self) -> float:
        return self.cost_us / self.base_us


# Measuring.


def measure(stage: Stage, column: Column, seconds: int) -> tuple[Load, int]:
    """The load that wrk brought about, and the CPU time of all in microseconds."""
    before = stage.cgroup.used_us()
    clients = [
        subprocess.Popen(
            stage.cgroup.command(
                *stage.client.inside(
                    *command(
                        f"http://{VIP}{column.path}", seconds, column.connections,
                        is_closing=column.is_closing,
                    )
                )
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(CLIENTS)
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


@dataclass(frozen=True, slots=True)
class Standing:
    """A cluster with its balancer, and what that counts."""

    balancer: Balancer
    stage: Stage
    count: Count | None

    def cost_us(self, column: Column) -> float:
        """CPU time for each request or MB. Raises BenchmarkError for a run that is no result."""
        before = self.count() if self.count else 0
        load, used_us = measure(self.stage, column, SECONDS)
        carried = self.count() - before if self.count else None
        check(case_name(column, self.balancer), load, carried)
        return used_us / column.amount(load)


@contextmanager
def warm(balancer: Balancer, group: Cgroup) -> Iterator[Standing]:
    prefix = f"onevip-b{os.getpid()}{'n' if balancer is NO_BALANCER else ''}-"
    with standing(balancer, group, prefix) as (stage, count):
        measure(stage, COLUMNS[0], WARM_S)
        yield Standing(balancer, stage, count)


def by_turns(bare: Standing, ours: Standing, column: Column, turns: int) -> Iterator[Measured]:
    """No balancer, balancer, no balancer, balancer … no balancer."""
    before = bare.cost_us(column)
    for _ in range(turns):
        cost = ours.cost_us(column)
        after = bare.cost_us(column)
        yield Measured(column, ours.balancer, cost, before, after)
        before = after


def measure_all(options: Options, columns: Sequence[Column]) -> list[Measured]:
    balancers = [one for one in BALANCERS if one is not NO_BALANCER]
    balancers = [one for one in balancers if wanted(one, columns, options)] or balancers[:1]
    rounds, turns = (1, 1) if options.quick else (ROUNDS, TURNS)
    found: list[Measured] = []
    with only_one("benchmark"), interruptible(), cgroup() as group:
        for number in range(rounds):
            with warm(NO_BALANCER, group) as bare:
                for balancer in balancers if number % 2 == 0 else balancers[::-1]:
                    with warm(balancer, group) as ours:
                        for column in columns:
                            found += by_turns(bare, ours, column, turns)
    return found


# Results.


def case_name(column: Column, balancer: Balancer) -> str:
    return f"{column.name}, {balancer.name}"


def wanted(balancer: Balancer, columns: Iterable[Column], options: Options) -> bool:
    return any(options.wants(case_name(column, balancer)) for column in columns)


def results_of(measured: Sequence[Measured], options: Options) -> list[Result]:
    """Medians over all turns, in the order of the columns and balancers."""
    results = []
    for column in COLUMNS:
        of_column = [one for one in measured if one.column is column]
        for balancer in BALANCERS:
            turns = [one for one in of_column if one.balancer is balancer]
            if balancer is NO_BALANCER:  # by itself: what the machine's drift is like
                turns = [
                    Measured(column, balancer, one.after_us, one.before_us, one.before_us)
                    for one in of_column
                ]
            if turns and options.wants(case_name(column, balancer)):
                results.append(_result(column, balancer, turns))
    return results


def _result(column: Column, balancer: Balancer, turns: Sequence[Measured]) -> Result:
    ratios = sorted(one.ratio for one in turns)
    return Result(
        case_name(column, balancer),
        statistics.median(one.cost_us for one in turns),
        column.unit,
        statistics.median(one.base_us for one in turns),
        statistics.median(ratios),
        column.most if balancer.is_ours else None,
        least=min(one.cost_us for one in turns),
        note=f"{ratios[0]:.2f} to {ratios[-1]:.2f}" if len(ratios) > 1 else "",
    )


def run(options: Options) -> list[Result]:
    needed.require("wrk", "nginx", str(needed.NGINX_STREAM), "haproxy", "nft", "ethtool")
    require_whole_times()
    columns = [
        column for column in COLUMNS if any(wanted(one, [column], options) for one in BALANCERS)
    ]
    elsewhere, began = handed_to_ksoftirqd_us(), time.monotonic()
    measured = measure_all(options, columns)
    share = (handed_to_ksoftirqd_us() - elsewhere) / (time.monotonic() - began) / 1e6
    print(f"ksoftirqd of the whole machine meanwhile: {share:.1%} of one CPU, not counted")
    return results_of(measured, options)


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
