"""The pid file: there from the moment that the configuration is in force until the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from onevip.daemon.events import Event, Started, Stopped


class PidFile:
    """A listener, in a `with`. What is found there of a daemon that was killed is replaced."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file could not be written later."""
        self._path = path
        self._draft = path.with_name(f"{path.name}.{os.getpid()}")
        self._draft.write_text(f"{os.getpid()}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._draft.unlink(missing_ok=True)
        self._remove()

    def heard(self, event: Event) -> None:
        match event:
            case Started():
                self._draft.replace(self._path)  # whole or not at all, for who reads it now
            case Stopped():
                self._remove()
            case _:
                pass

    async def close(self) -> None:
        """The `with` ends after us, and also when the daemon could not begin."""

    def _remove(self) -> None:
        """Another daemon's is left alone."""
        try:
            if self._path.read_text() == f"{os.getpid()}\n":
                self._path.unlink()
        except OSError:
            return
