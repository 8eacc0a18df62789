"""What is due when: the only clock of the reference. It goes when it is told to."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

Action = Callable[[float], None]


class Agenda:
    """Actions and their moments, in seconds; an action is told the moment for which it was due."""

    def __init__(self) -> None:
        self.now = -math.inf  # the clock begins with the first moment that is reached
        self._due: list[tuple[float, int, Action]] = []
        self._serial = count()  # actions of one moment come in the order in which they were noted

    def at(self, moment: float, action: Action) -> None:
        heapq.heappush(self._due, (moment, next(self._serial), action))

    def reach(self, now: float) -> None:
        """Does what is due until then, in order. Raises ValueError when `now` is in the past."""
        if now < self.now:
            raise ValueError(f"the clock goes back from {self.now} to {now}")
        if self.now == -math.inf:
            self.now = now
        while self._due and self._due[0][0] <= now:
            moment, _, action = heapq.heappop(self._due)
            self.now = max(self.now, moment)
            action(self.now)
        self.now = now
