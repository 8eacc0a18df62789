"""lblc with replication: a destination that is much asked for has several servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from onevip.schedulers.destination_cache import DestinationCache
from onevip.schedulers.lblc import is_too_busy
from onevip.schedulers.scheduler import Request, S, Scheduler
from onevip.schedulers.wlc import least_loaded, load


@dataclass(slots=True)
class ServerSet(Generic[S]):
    """A destination's servers, the latest first, and when one came or went last."""

    members: list[S]
    changed_at: float


class ReplicatedLocality(Scheduler[S]):
    """The least loaded of the destination's servers, unless it is too busy: then the least loaded
    of all, which joins them (spec ipvs §4.7). A set that did not change for lblcr_expiration
    gives up its most loaded member.
    """

    def __init__(self, servers: Sequence[S]) -> None:
        self.cache: DestinationCache[ServerSet[S]] = DestinationCache()

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        now, lifetime_s = request.now, request.tunables["lblcr_expiration"]
        known = self.cache.used(request.vip, now, lifetime_s)
        if known is not None:
            usable = least_loaded(member for member in known.members if member.available)
            if len(known.members) > 1 and now > known.changed_at + lifetime_s:
                _give_one_up(known, now)
            if usable is not None and not is_too_busy(usable, servers):
                return usable
        chosen = least_loaded(servers)
        if chosen is None:
            return None
        if known is None:
            self.cache.remember(request.vip, ServerSet([chosen], now), now)
        elif chosen not in known.members:
            known.members.insert(0, chosen)
            known.changed_at = now
        return chosen


def _give_one_up(known: ServerSet[S], now: float) -> None:
    """The most loaded of those with weight goes, also one that is deleted; the first of equals."""
    most = max((m for m in known.members if m.weight > 0), key=load, default=None)
    if most is not None:
        known.members.remove(most)
        known.changed_at = now
