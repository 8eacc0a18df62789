"""Round robin: the servers take turns. Weights count only as 0 or not."""

from __future__ import annotations

from collections.abc import Sequence

from onevip.schedulers.scheduler import Request, S, Scheduler, is_eligible


class RoundRobin(Scheduler[S]):
    """The next eligible server after the last chosen one, wrapping (spec ipvs §4.1)."""

    last: S | None = None  # chosen; None: begin at the list's head

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        """When the last chosen one goes, its predecessor takes its place."""
        if self.last is not None and self.last not in after:
            index = before.index(self.last)
            self.last = before[index - 1] if index else None

    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        start = 0 if self.last is None else servers.index(self.last) + 1
        for server in (*servers[start:], *servers[:start]):
            if is_eligible(server):
                self.last = server
                return server
        return None
