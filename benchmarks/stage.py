"""A case's director with its connections, and the guard over every round.

A round counts only when the door's own counters show that every packet took the intended road.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cases import IPIP, Case, Road
from benchmarks.connections import Churn, Connections
from benchmarks.director import Director
from benchmarks.measuring import Timing
from benchmarks.network import BACK, FRONT
from benchmarks.rig import XDP_PASS, Measurement, Rig, Way
from benchmarks.sections import BenchmarkError
from benchmarks.traffic import opening, traffic_of
from onevip.engines.bpf.shapes import Limits

CROWD, CROWD_END = 1 << 20, 1 << 23  # flow numbers from here on only fill the table
SLICES = 16  # in which a table is filled with flows and crowd
LOAD = 0.02  # of the table: so much do new connections add before they are ended


class LeftOut(Exception):
    """A case that cannot be measured here, and why."""


class Stage:
    """One case, ready to be measured."""

    def __init__(self, case: Case, director: Director, connections: Connections) -> None:
        self._case = case
        self._director = director
        self._connections = connections
        if case.family == 4:
            self._knock()
        self._flows_refused = self._fill()
        self.table_full = 0.0  # which part of the packets of the last round found no place
        self._is_passed = case.road is Road.STRANGER or case.family == 6
        is_new = case.road is Road.NEW
        self._churn = self._start_churn() if case.changes or case.in_each_chunk else None
        self._way = Way(
            traffic_of(case),
            is_passed=self._is_passed,
            grows=case.method is IPIP,
            burst=int(connections.places * LOAD) if is_new else 0,
            at_least=0 if is_new else case.flows,  # every flow is met
            by=self._churn,
        )

    def measure(self, rig: Rig) -> Measurement:
        """Raises BenchmarkError for a run that is no result."""
        self._director.arrives_for(BACK if self._case.road is Road.REPLY else FRONT)
        self._send(rig)  # once for nothing: every real server's way is asked for
        return rig.measure(self._way, lambda: self._guarded(rig))

    def _send(self, rig: Rig) -> Timing:
        """A round. New connections are ended after each burst, so that the load stays."""
        living = self._connections.living()

        def end_new() -> None:
            self._connections.end_new()
            if self._connections.living() != living:
                raise BenchmarkError(f"{living} connections became {self._connections.living()}")

        between = end_new if self._case.road is Road.NEW else None
        return rig.through(self._way, self._director.program, between=between)

    def _guarded(self, rig: Rig) -> Timing:
        before, living = self._director.counters(), self._connections.living()
        if self._case.family == 6:
            self._connections.forget_seen()
        done = self._send(rig)
        after, still_living = self._director.counters(), self._connections.living()
        seen = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        table_full = seen.get("table_full", 0) if self._case.full else 0
        if self._case.full:  # they made room for each other
            seen.pop("evicted_half_open", None)
        packets = rig.packets_of(self._way)
        self.table_full = table_full / packets
        expected = self._case.expects(packets, self._flows_refused, table_full)
        if seen != expected:
            raise BenchmarkError(f"the door counted {seen}, not {expected}")
        if still_living != living:
            raise BenchmarkError(f"{living} connections became {still_living}")
        if self._case.family == 6 and self._connections.seen() != self._case.flows:
            raise BenchmarkError(f"{self._connections.seen()} connections were met")
        if self._churn and self._churn.watched != packets * self._changes:
            raise BenchmarkError(f"{self._churn.watched} changes made a list look again")
        if self._is_passed and done.verdict != XDP_PASS:
            raise BenchmarkError(f"the verdict is {done.verdict}, not {XDP_PASS}")
        return done

    @property
    def _changes(self) -> int:
        """Of real servers' counts, before each packet."""
        chunks = -(-self._case.reals // Limits.MEMBERS_PER_CHUNK)
        return chunks if self._case.in_each_chunk else self._case.changes

    def _start_churn(self) -> Churn:
        reals = self._case.reals
        self._open(range(CROWD, CROWD + reals))
        stride = int(Limits.MEMBERS_PER_CHUNK) if self._case.in_each_chunk else 0
        return self._connections.churn(reals, self._changes, stride)

    def _knock(self) -> None:
        """One packet that opens a connection: the door takes what is for the service."""
        before = self._director.counters()["new_connections"]
        self._director.arrives_for(FRONT)
        self._director.take(opening(self._case))
        if self._director.counters()["new_connections"] != before + 1:
            raise BenchmarkError("the xdp door does not take what is for the VIP")
        self._connections.end_new()

    def _fill(self) -> int:
        """Opens what the case wants to meet; how many of its flows found no place."""
        case = self._case
        flows = case.flows if case.road in (Road.ESTABLISHED, Road.REPLY) else 0
        if not case.full:
            self._connections.make_room(flows)
        places = self._connections.places
        if flows > places:
            raise LeftOut(f"the connection table has {places} places")
        crowd = max(0, round(places * case.full) - flows)
        refused = 0
        for nr in range(SLICES):
            refused += self._open(_slice(0, flows, nr))
            self._open(_slice(CROWD, crowd, nr))
        self._top_up(round(places * case.full), CROWD + crowd)
        return refused

    def _top_up(self, wanted: int, first: int) -> None:
        """The last ones are often refused: others try until the table is as full as it is to be."""
        while (missing := wanted - self._connections.living()) > 0:
            if first > CROWD_END:
                raise BenchmarkError(f"the table takes no more, {missing} are missing")
            self._open(range(first, first + missing))
            first += missing

    def _open(self, flows: range) -> int:
        return self._connections.fill(
            self._director.service, self._case.method, self._case.reals, flows
        )


def _slice(first: int, count: int, nr: int) -> range:
    return range(first + count * nr // SLICES, first + count * (nr + 1) // SLICES)


@contextmanager
def staged(case: Case, builds: Path) -> Iterator[Stage]:
    """Raises LeftOut for what is not possible here."""
    with Director.of(case) as director, Connections.of(builds, director.plane) as connections:
        yield Stage(case, director, connections)
