"""Destination hashing: the destination's address decides. Of use where there are many of them:
services by mark, transparent proxies.
"""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.rings import destination_hash_ring, fold, hash32
from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class DestinationHashing(Scheduler[S]):
    """256 buckets dealt to the servers in turn, whatever their weight (spec ipvs §4.3).

    A bucket whose server is not eligible serves nobody.
    """

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        self.ring = destination_hash_ring(len(after))

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        index = self.ring[hash32(fold(request.vip), 8)]
        return servers[index] if index >= 0 and is_eligible(servers[index]) else None
