"""Maglev hashing: as sh, but a change of the list moves hardly any other client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onevip.model import SchedulerFlag
from onevip.schedulers.rings import fold, maglev_hash, maglev_table
from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class MaglevHashing(Scheduler[S]):
    """4093 places dealt by last weights: a quiescent server keeps its own (spec ipvs §4.5).

    A place whose server is not eligible serves nobody, or with `mh-fallback` the first eligible
    one of those to which the client's hash leads when it is made anew, up to 4093 times.
    """

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        self.ring = maglev_table([(s.address, s.port, s.last_weight) for s in after])

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        members = (servers[self.ring[place]] for place in self._places(request)
                   if self.ring[place] >= 0)  # fmt: skip
        return next(filter(is_eligible, members), None)

    def _places(self, request: Request) -> Iterator[int]:
        key = fold(request.client)
        key += request.client_port if request.flags & SchedulerFlag.PORT else 0
        own = maglev_hash(key & 0xFFFFFFFF) % len(self.ring)
        yield own
        if request.flags & SchedulerFlag.FALLBACK:
            for step in range(len(self.ring)):
                salt = (own + step) % len(self.ring)
                yield maglev_hash(key + salt & 0xFFFFFFFF) % len(self.ring)
