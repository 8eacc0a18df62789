"""Overflow: everybody to the best one until it is full, then the next best."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class Overflow(Scheduler[S]):
    """The highest weight among those with no more active connections than weight (§4.1).

    So one of weight 10 is given its 11th, but not its 12th. When all are full: nobody.
    """

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        free = (s for s in servers if is_eligible(s) and s.active <= s.weight)
        return max(free, key=lambda server: server.weight, default=None)
