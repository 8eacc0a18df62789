"""Weighted least connections: who is least busy for its weight. ipvsadm's default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible, overhead


def load(server: S) -> Fraction:
    """Overhead for each unit of weight, which must not be 0."""
    return Fraction(overhead(server), server.weight)


def least_loaded(servers: Iterable[S]) -> S | None:
    """The lowest load among the eligible; the first of equals (spec ipvs §4.1)."""
    return min(filter(is_eligible, servers), key=load, default=None)


class WeightedLeastConnections(Scheduler[S]):
    """While nobody is busy this is always the first of the list."""

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        return least_loaded(servers)
