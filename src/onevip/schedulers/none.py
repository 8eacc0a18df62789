"""No scheduler: nobody is given to anybody. Existing connections and templates go on."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler


class NoScheduler(Scheduler[S]):
    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        return None
