"""Weighted round robin: turns in proportion to weights, mixed as finely as may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler


class WeightedRoundRobin(Scheduler[S]):
    """A bar falls from the highest weight in steps of the weights' divisor (spec ipvs §4.2).

    Each walk through the list takes everybody whose weight reaches the bar; at the list's end the
    bar falls one step, and from the lowest it goes up again. In the kernel's words: `bar` is cw,
    `highest` mw, `divisor` di, `last` cl.
    """

    def __init__(self, servers: Sequence[S]) -> None:
        self.bar = 0
        super().__init__(servers)

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        """Every change sends it back to the head; the bar stays where the new steps allow."""
        weights = [server.weight for server in after]
        self.last: S | None = None
        self.divisor = math.gcd(*weights) or 1
        self.highest = max(max(weights, default=0) - (self.divisor - 1), 0)
        if self.bar > self.highest or self.bar == 0:
            self.bar = self.highest
        elif self.divisor > 1:
            self.bar = self.bar // self.divisor * self.divisor + 1

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        """Gives up once everybody was asked for the lowest bar.

        It then goes on where that walk ended: at the list's head, or after `last` again.
        """
        if not self.highest:
            return None
        start = 0 if self.last is None else servers.index(self.last) + 1
        asked, is_end, from_top = servers[start:], False, False
        while True:
            for server in asked:
                if server.weight >= self.bar and not server.overloaded:
                    self.last = server
                    return server
            if is_end:
                return None
            asked, was_lowest = servers, len(asked) == len(servers) and self.bar <= self.divisor
            self.bar -= self.divisor
            if self.bar <= 0:
                self.bar = self.highest
                if was_lowest:
                    self.last = None
                    return None
                from_top = True
            # the first walk, from `start` on, was at the lowest bar: now the others
            if from_top and self.bar <= self.divisor:
                asked, is_end = servers[:start], True
