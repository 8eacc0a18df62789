"""A clock that the test moves; who sleeps by it wakes when his time has come."""

from __future__ import annotations

import asyncio

#: So many turns of the loop settle what a wake-up sets going.
TURNS = 50


class ManualClock:
    """`clock()` is now, `await clock.sleep(s)` waits, `await clock.goes(s)` moves it."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, woken))
        await woken

    async def goes(self, seconds: float) -> None:
        """Let time pass, one waking after the other."""
        end = self.now + seconds
        await settle()
        while due := [sleeper for sleeper in self._waiting() if sleeper[0] <= end]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[1].set_result(None)
            await settle()
        self.now = end

    def _waiting(self) -> list[tuple[float, asyncio.Future[None]]]:
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]
        return self._sleepers


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
