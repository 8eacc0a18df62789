"""Locality-based least connections: a destination stays with its server, for caching proxies."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.destination_cache import DestinationCache
from onevip.schedulers.scheduler import Request, S, Scheduler, Server
from onevip.schedulers.wlc import least_loaded


def is_too_busy(server: Server, servers: Sequence[Server]) -> bool:
    """More active connections than weight, while somebody else is not half as busy."""
    return server.active > server.weight and any(s.active * 2 < s.weight for s in servers)


class LocalityLeastConnections(Scheduler[S]):
    """The destination's server while it is usable, else a new one by wlc (spec ipvs §4.6).

    Not asked of the remembered server: whether it is overloaded.
    """

    def __init__(self, servers: Sequence[S]) -> None:
        self.cache: DestinationCache[S] = DestinationCache()

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        lifetime_s = request.tunables["lblc_expiration"]
        known = self.cache.used(request.vip, request.now, lifetime_s)
        if (
            known is not None
            and known.available
            and known.weight > 0
            and not is_too_busy(known, servers)
        ):
            return known
        chosen = least_loaded(servers)
        if chosen is not None:
            self.cache.remember(request.vip, chosen, request.now)
        return chosen
