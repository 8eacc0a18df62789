"""The price of expiry: what the sweeper takes of one CPU, how long it stalls it, how late it is.

The sweeper is a kernel timer; no process of ours runs meanwhile. What it takes it tells itself, by
the clock at both ends of each tick (bpf/sweep.bpf.c). The table is the one for a million
connections, 2^21 slots, half full.

`floor` is what the goal allows, and `ratio` the part of it that is taken: a goal is reached up to
1. Growing is no work of the sweeper's; it is held against the second that it may take (tables.py).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

from benchmarks import network, report, stall
from benchmarks.cases import GATE, Case, Road
from benchmarks.connections import FOREVER, Connections
from benchmarks.director import Director
from benchmarks.flows import CLIENTS
from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError, Incomplete
from onevip.engines.bpf import pins
from onevip.engines.bpf.loader import DataPlane, clock_shift, clock_units
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.slots import LIVE, PHASE
from onevip.model import Protocol, ServiceKey

MILLION = 1 << 20
SLICES = 16  # in which a table is filled
ALLOWED_SHARE, ALLOWED_STALL_MS, ALLOWED_LATE_S = 2.0, 10.0, 2.0
ALLOWED_GROWTH_MS = 1000.0
WATCHED_S, QUICK_WATCHED_S = 10.0, 2.0
GROWTHS, QUICK_GROWTHS = 5, 1

#: Lateness: groups of connections that are opened one after the other and then left alone.
GROUPS, OF_GROUP, GROUP_EVERY_S = 64, 64, 0.02
IDLE_S = 3.0
POLL_S = 0.004
GONE_S = 30.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What the sweeper's report says of some seconds."""

    seconds: float
    spent_ns: int
    longest_ns: int
    ticks: int
    rounds: int

    @property
    def share(self) -> float:
        """Percent of one CPU."""
        return self.spent_ns / self.seconds / 1e7

    @property
    def longest_ms(self) -> float:
        return self.longest_ns / 1e6

    @property
    def note(self) -> str:
        """Of a mean tick and a round, for who wants to know."""
        tick_us = self.spent_ns / max(self.ticks, 1) / 1e3
        a_round = f", a round {self.seconds / self.rounds:.2f} s" if self.rounds > 2 else ""
        return f"a tick {tick_us:.0f} us{a_round}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection's life, all in seconds of one clock."""

    opened: tuple[float, float]  # between these two
    found_gone: float

    def latest(self, idle_s: float) -> float:
        """How long after its time it ended, at most; negative: before."""
        return self.found_gone - self.opened[0] - idle_s

    def earliest(self, idle_s: float) -> float:
        """How long before its time it ended: found so a look later. Negative: after."""
        return self.opened[1] + idle_s - self.found_gone


class Sweeper:
    """The timer of one data plane, by its report."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    @contextlib.contextmanager
    def observed(self) -> Iterator[list[Swept]]:
        """Fills the list when the block ends."""
        found: list[Swept] = []
        self._plane.report.set(0, "longest_ns", 0)
        began, before = time.monotonic(), self._look()
        yield found
        seconds, after = time.monotonic() - began, self._look()
        spent, ticks, rounds = (now - was for now, was in zip(after, before, strict=True))
        if not ticks:
            raise BenchmarkError("the sweeper's timer stands still")
        longest = self._plane.report.get(0, "longest_ns")
        found.append(Swept(seconds, spent, longest, ticks, rounds))

    def _look(self) -> tuple[int, int, int]:
        see = self._plane.report
        new = self._plane.settings.get(0, "tables") >> 8
        return see.get(0, "spent_ns"), see.get(0, "ticks"), see.get_many(0, "rounds")[new]


class Bench:
    """A director whose table is as large as for a million connections."""

    def __init__(self, director: Director, connections: Connections, options: Options) -> None:
        self._plane = director.plane
        self._service = director.service
        self._connections = connections
        self._sweeper = Sweeper(director.plane)
        self._watched_s = QUICK_WATCHED_S if options.quick else WATCHED_S
        self._growths = QUICK_GROWTHS if options.quick else GROWTHS

    def all_of(self) -> Iterator[Result]:
        """In this order: each leaves the table for the next as it needs it."""
        yield self.growth()
        yield from self.at_rest("empty table", has_goal=False)
        self.fill()
        yield from self.at_rest("1M live connections", has_goal=True)
        yield from self.lateness()
        yield from self.mass_expiry()

    def growth(self) -> Result:
        """The control plane's step; the table is the large one afterwards."""
        times = []
        for number in range(self._growths):
            with pins.writer_lock():
                if number:
                    self._plane.tables.shrink()
                    self._plane.tables.retire()
                began = time.monotonic()
                if not self._plane.tables.grow():
                    raise BenchmarkError("the table did not grow")
                times.append((time.monotonic() - began) * 1e3)
                if not self._plane.tables.retire():
                    raise BenchmarkError("the old table is not empty")
        slots = self._connections.places
        if slots < 2 * MILLION:
            raise BenchmarkError(f"the table has grown to {slots} slots only")
        name = f"growth to {slots >> 20}M slots"
        note = "the control plane's step, packets go on"
        return _of(name, median(times), "ms", ALLOWED_GROWTH_MS, has_goal=False, note=note)

    def at_rest(self, what: str, *, has_goal: bool) -> Iterator[Result]:
        """Nothing ends."""
        with self._sweeper.observed() as swept:
            time.sleep(self._watched_s)
        with self._sweeper.observed() as swept_again:
            seen = stall.watched(self._watched_s)
        (alone,), (busy,) = swept, swept_again
        allowed = ALLOWED_SHARE, ALLOWED_STALL_MS
        yield _of(
            f"share of a CPU, {what}", alone.share, "%", allowed[0],
            has_goal=has_goal, note=alone.note,
        )  # fmt: skip
        longest = max(alone.longest_ms, busy.longest_ms)
        yield _of(f"longest tick, {what}", longest, "ms", allowed[1], has_goal=has_goal)
        yield _stall(what, seen)

    def fill(self) -> None:
        """A million of the first flows that find a place."""
        first = 0
        while missing := MILLION - self._connections.living():
            if first > 2 * MILLION:
                raise BenchmarkError(f"the table takes no more, {missing} are missing")
            count = min(missing, MILLION // SLICES)
            self._open(self._service, range(first, first + count))
            first += count

    def lateness(self) -> Iterator[Result]:
        """Of UDP connections among the million, whose own timeout is long."""
        hz = self._plane.settings.get(0, "hz")
        unit_s = (1 << clock_shift(hz)) / hz
        units = clock_units(IDLE_S, hz)
        self._plane.settings.set(0, "udp_timeout", units)
        opened, refused = self._open_groups()
        (table,) = self._plane.connection_tables()
        slots = _udp_slots(table)
        if len(slots) + refused != GROUPS * OF_GROUP:
            raise BenchmarkError(f"{len(slots)} connections are found, {refused} were refused")
        ended = _ends(table, {at: opened[flow // OF_GROUP] for at, flow in slots.items()})
        self._plane.settings.set(0, "udp_timeout", FOREVER)
        lates = sorted(one.latest(units * unit_s) for one in ended)
        early = max(one.earliest(units * unit_s) for one in ended)
        name = f"{units * unit_s:.1f} s idle"
        yield _of(
            f"{name}, late at most", lates[-1], "s", ALLOWED_LATE_S,
            note=f"{len(lates)} connections, median {lates[len(lates) // 2]:.2f} s",
        )  # fmt: skip
        # One jiffy more: the clock that a connection was stamped with is that much behind.
        yield _of(f"{name}, early at most", max(early, 0.0), "s", unit_s + 1 / hz)

    def _open_groups(self) -> tuple[list[tuple[float, float]], int]:
        """The moments before and after each group was opened; how many found no place."""
        udp = ServiceKey(Protocol.UDP, self._service.address, self._service.port)
        opened, refused = [], 0
        for number in range(GROUPS):
            before = time.monotonic()
            refused += self._open(udp, range(number * OF_GROUP, (number + 1) * OF_GROUP))
            opened.append((before, time.monotonic()))
            time.sleep(GROUP_EVERY_S)
        return opened, refused

    def mass_expiry(self) -> Iterator[Result]:
        """All connections' time is over at one moment."""
        what = "1M expire at once"
        began = gone = 0.0

        def end_all() -> None:
            nonlocal began, gone
            began = time.monotonic()
            self._plane.settings.set_many(0, "tcp_timeout", (0,) * 16)
            while self._connections.living():
                if time.monotonic() > began + GONE_S:
                    raise BenchmarkError(f"{self._connections.living()} connections stay")
                time.sleep(0.01)
            gone = time.monotonic()

        with self._sweeper.observed() as swept:
            seen = stall.watched(3.0, end_all)
        (all_ended,) = swept
        yield _of(f"longest tick, {what}", all_ended.longest_ms, "ms", ALLOWED_STALL_MS)
        yield _stall(what, seen)
        yield _of(f"until the last is gone, {what}", gone - began, "s", ALLOWED_LATE_S)
        left = sum(self._plane.tables.room().live)
        expired = self._plane.report.get(0, "expired")
        if left or expired < MILLION:
            raise BenchmarkError(f"the sweeper ended {expired} and counts {left}")

    def _open(self, service: ServiceKey, flows: range) -> int:
        return self._connections.fill(service, GATE, 1, flows)


def _udp_slots(table: MappedArray) -> dict[int, int]:
    """Slots of UDP connections, and the flow that each is of."""
    found = {}
    protocols, phases = table.column("protocol"), table.column("control")
    at = protocols.find(Protocol.UDP)
    while at >= 0:
        if phases[at] & PHASE == LIVE:
            client = IPv4Address(table.get_bytes(at, "client")[-4:])
            found[at] = int(client) - CLIENTS
        at = protocols.find(Protocol.UDP, at + 1)
    return found


def _ends(table: MappedArray, opened: dict[int, tuple[float, float]]) -> list[Ended]:
    """Watch these slots until each has ended."""
    ended: list[Ended] = []
    alive = set(opened)
    deadline = time.monotonic() + GONE_S
    while alive:
        gone = {at for at in alive if table.get(at, "control") & PHASE != LIVE}
        now = time.monotonic()
        if now > deadline:
            raise BenchmarkError(f"{len(alive)} connections do not end")
        ended += (Ended(opened[at], now) for at in gone)
        alive -= gone
        time.sleep(POLL_S)
    return ended


def _of(
    case: str, value: float, unit: str, allowed: float, *, has_goal: bool = True, note: str = ""
) -> Result:
    goal = 1.0 if has_goal else None
    return Result(case, value, unit, allowed, value / allowed, goal, note=note)


def _stall(what: str, seen: stall.Stall) -> Result:
    """No goal: it holds whatever else this machine did."""
    return _of(
        f"a busy process's longest gap, {what}", seen.wall_ns / 1e6, "ms", ALLOWED_STALL_MS,
        has_goal=False, note=f"{seen.own_ns / 1e6:.2f} ms without other processes",
    )  # fmt: skip


def run(options: Options) -> list[Result]:
    case = Case("sweep", Road.ESTABLISHED, reals=1)
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="onevip-bench-") as builds,
        network.namespace(),
        Director.of(case) as director,
        Connections.of(Path(builds), director.plane) as connections,
    ):
        try:
            for result in Bench(director, connections, options).all_of():
                print(report.line(result), flush=True)
                results.append(result)
        except BenchmarkError as error:
            raise Incomplete(results, [str(error)]) from error
    return [result for result in results if options.wants(result.case)]
