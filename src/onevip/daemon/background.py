"""A thread that writes what others must not wait for: a stopped pager, a full disk, a dead NFS."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: What waits to be written; what comes on top of it is lost.
MAX_WAITING = 10_000
#: So long the end of the daemon waits for the last of it to be written.
PATIENCE_S = 1.0


class Background(Generic[T]):
    """Hands items to `write`, in order, in a thread of its own; it gets those that came together.

    `write` must raise nothing.
    """

    def __init__(self, write: Callable[[list[T]], None]) -> None:
        self._write = write
        self._waiting: queue.Queue[T | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """Returns at once, whatever the thread is doing; False: too much waits, it is lost."""
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Let what waits be written, if that can be."""
        try:
            self._waiting.put(None, timeout=PATIENCE_S)
        except queue.Full:
            return
        self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        while True:
            items = [self._waiting.get()]
            items += [self._waiting.get() for _ in range(self._waiting.qsize())]
            if found := [item for item in items if item is not None]:
                self._write(found)
            if len(found) < len(items):
                return
