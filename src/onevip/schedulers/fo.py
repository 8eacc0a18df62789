"""Fail over: everybody to the best one, as long as it may."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class FailOver(Scheduler[S]):
    """The highest weight among the eligible; the first of equals (spec ipvs §4.1)."""

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        return max(filter(is_eligible, servers), key=lambda server: server.weight, default=None)
