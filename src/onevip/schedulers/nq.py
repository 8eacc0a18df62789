"""Never queue: an idle server at once; only when all are busy, the shortest expected delay."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible
from onevip.schedulers.sed import shortest_delay


class NeverQueue(Scheduler[S]):
    """The first eligible server without active connections, whatever its weight, else as sed."""

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        idle = (server for server in servers if is_eligible(server) and not server.active)
        return next(idle, None) or shortest_delay(servers)
