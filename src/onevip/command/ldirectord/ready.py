"""Tells the process that waits for it that the configuration is in force."""

from __future__ import annotations

from collections.abc import Callable

from onevip.daemon.events import Event, Started


class Ready:
    """A listener, the last one: what it announces has been done."""

    def __init__(self, say_ready: Callable[[], None]) -> None:
        self._say_ready = say_ready

    def heard(self, event: Event) -> None:
        if isinstance(event, Started):
            self._say_ready()

    async def close(self) -> None:
        """Nothing is held."""
