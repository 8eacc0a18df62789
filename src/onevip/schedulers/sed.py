"""Shortest expected delay: who would be least busy for its weight with one connection more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


def shortest_delay(servers: Iterable[S]) -> S | None:
    """The lowest (active + 1) / weight among the eligible; the first of equals (spec ipvs §4.1)."""

    def delay(server: S) -> Fraction:
        return Fraction(server.active + 1, server.weight)

    return min(filter(is_eligible, servers), key=delay, default=None)


class ShortestExpectedDelay(Scheduler[S]):
    """Inactive connections do not count."""

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        return shortest_delay(servers)
