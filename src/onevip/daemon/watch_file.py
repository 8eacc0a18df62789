"""Notices that the content of a file has changed. Does not read it for meaning."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

SETTLE_S = 0.2
MAX_LOOKS = 25  # a file that is written to all the time is read after five seconds anyway

Stamp = tuple[int, int, int]


class WatchFile:
    """Time of change first, then content: a touched file has not changed."""

    def __init__(
        self, path: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._path = Path(path)
        self._sleep = sleep
        self._stamp = self._look()
        self._digest = self._read()
        self._was_different = False  # what the last `take` found

    async def has_changed(self) -> bool:
        """Whether the content differs from when this was last asked.

        Waits until the file rests: half a file may be valid, and would delete the other half's
        services.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        for _ in range(MAX_LOOKS):
            await self._sleep(SETTLE_S)
            before, stamp = stamp, self._look()
            if stamp == before:
                break
        self.take()
        return self._was_different

    def take(self) -> None:
        """The content as it is now is known."""
        digest = self._read()
        self._stamp = self._look()
        self._was_different, self._digest = digest != self._digest, digest

    def _look(self) -> Stamp | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> bytes:
        """A digest of the content; empty when it cannot be read."""
        if not self._path.is_file():
            return b""  # opening a pipe would wait
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()
        except OSError:
            return b""
