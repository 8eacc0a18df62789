"""Power of two choices: the less busy of two that chance picks by weight."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible
from onevip.schedulers.wlc import load


class PowerOfTwo(Scheduler[S]):
    """Two throws of 0 to the sum of weights, both included: so the first of the list is picked
    a little too often. The first pick stays unless the second is less busy (spec ipvs §4.8).
    """

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        eligible = [server for server in servers if is_eligible(server)]
        if not eligible:
            return None
        sides = sum(server.weight for server in eligible) + 1
        first, second = (_picked(eligible, request.dice(sides)) for _ in range(2))
        return second if load(second) < load(first) else first


def _picked(eligible: Sequence[S], throw: int) -> S:
    """Where the throw runs out when weights are taken off it one after the other."""
    for server in eligible:
        throw -= server.weight
        if throw <= 0:
            return server
    raise ValueError(f"a throw was {throw} above the sum of weights")
