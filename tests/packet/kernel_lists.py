"""The kernel's schedulers over a linked list, as spec ipvs §4 tells them: what to compare with.

Straightforward and slow on purpose. The list's head is the most recently added server; rr and
wrr hold on to the server itself, not to a place in the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(eq=False)
class Server:
    number: int
    weight: int
    active: int = 0
    inactive: int = 0
    overloaded: bool = False

    @property
    def is_eligible(self) -> bool:
        return self.weight > 0 and not self.overloaded


class KernelList:
    """A service's servers and the state of its scheduler."""

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self.servers: list[Server] = []
        self._last: Server | None = None  # None: the list's head
        self._current = 0  # wrr: the weight that a server needs now
        self._fit()

    def add(self, server: Server) -> None:
        self.servers.insert(0, server)
        self._changed()

    def delete(self, number: int) -> Server:
        server = self.server(number)
        at = self.servers.index(server)
        if self._last is server:
            self._last = self.servers[at - 1] if at else None
        self.servers.remove(server)
        self._changed()
        return server

    def edit(self, number: int, weight: int) -> None:
        """A server that has no threshold is no longer overloaded."""
        self.server(number).weight = weight
        self.server(number).overloaded = False
        self._changed()

    def server(self, number: int) -> Server:
        return next(server for server in self.servers if server.number == number)

    def choose(self) -> int | None:
        """The number of the server that a new connection gets."""
        choose: Callable[[], Server | None] = {"rr": self._rr, "wrr": self._wrr}.get(
            self.scheduler, self._least
        )
        found = choose()
        if found is None:
            return None
        if self.scheduler in ("rr", "wrr"):
            self._last = found
        return found.number

    def _changed(self) -> None:
        if self.scheduler == "wrr":
            self._last = None
            self._fit()

    def _fit(self) -> None:
        weights = [server.weight for server in self.servers if server.weight]
        self._step = math.gcd(*weights) or 1
        self._highest = max(weights, default=0) - (self._step - 1)
        if self._current > self._highest or self._current == 0:
            self._current = self._highest
        elif self._step > 1:
            self._current = self._current // self._step * self._step + 1

    def _after_last(self) -> int:
        return 0 if self._last is None else self.servers.index(self._last) + 1

    def _rr(self) -> Server | None:
        at = self._after_last()
        turned = self.servers[at:] + self.servers[:at]
        return next((server for server in turned if server.is_eligible), None)

    def _wrr(self) -> Server | None:
        """As ip_vs_wrr_schedule walks, with its rules for when to stop."""
        if not any(server.weight for server in self.servers):
            return None
        last, stop = self._last, None
        restarted = last_pass = False
        waiting = self.servers[self._after_last() :]
        while True:
            for server in waiting:
                if server.is_eligible and server.weight >= self._current:
                    return server
                if server is stop:
                    return None
            self._current -= self._step
            if self._current <= 0:
                self._current = self._highest
                if last_pass or last is None:
                    self._last = None  # where the walk ended
                    return None
                restarted = True
            last_pass = self._current <= self._step
            if last_pass and restarted and last is not None:
                stop = last
            waiting = self.servers

    def _least(self) -> Server | None:
        able = [server for server in self.servers if server.is_eligible]
        if self.scheduler == "ovf":
            able = [server for server in able if server.active <= server.weight]
        return min(able, key=self._price) if able else None  # min: the first of equals

    def _price(self, server: Server) -> Fraction | int:
        overhead = 256 * server.active + server.inactive
        if self.scheduler in ("fo", "ovf"):
            return -server.weight
        if self.scheduler == "lc":
            return overhead
        if self.scheduler == "wlc":
            return Fraction(overhead, server.weight)
        if self.scheduler == "nq" and server.active == 0:
            return 0
        return Fraction(server.active + 1, server.weight)
