"""Least connections: who is least busy, whatever the weights."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible, overhead


class LeastConnections(Scheduler[S]):
    """The lowest overhead among the eligible; the first of equals (spec ipvs §4.1)."""

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        return min(filter(is_eligible, servers), key=overhead, default=None)
