"""The time that a real server has for one attempt. Stands still while the director waits for
what is its own: a place for a program, a pattern's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Limit:
    """`async with limit:` raises TimeoutError when what is inside took longer. For one use."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    @property
    def is_over(self) -> bool:
        """It struck."""
        return self._timeout.expired()

    @property
    def late_s(self) -> float:
        """How long after its time it struck, asked at once."""
        return asyncio.get_running_loop().time() - (self._timeout.when() or 0.0)

    async def paused(self, ours: Awaitable[T]) -> T:
        """Await something that is not the server's to hurry."""
        loop = asyncio.get_running_loop()
        left_s = (self._timeout.when() or 0.0) - loop.time()
        self._timeout.reschedule(None)
        result = await ours
        self._timeout.reschedule(loop.time() + left_s)
        return result
