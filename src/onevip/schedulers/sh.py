"""Source hashing: the client's address decides, and with `sh-port` its port too."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.model import SchedulerFlag
from onevip.schedulers.rings import fold, hash32, source_hash_ring
from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class SourceHashing(Scheduler[S]):
    """256 buckets dealt by weight; a quiescent server keeps one (spec ipvs §4.4).

    A bucket whose server is not eligible serves nobody, or with `sh-fallback` the next bucket
    that has one, starting at twice its own number.
    """

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        self.ring = source_hash_ring([server.weight for server in after])

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        port = request.client_port if request.flags & SchedulerFlag.PORT else 0
        own = hash32(fold(request.client) + port & 0xFFFFFFFF, 8)
        tried = [own]
        if request.flags & SchedulerFlag.FALLBACK:
            tried += [(2 * own + step) % len(self.ring) for step in range(len(self.ring))]
        members = (servers[self.ring[bucket]] for bucket in tried if self.ring[bucket] >= 0)
        return next(filter(is_eligible, members), None)
