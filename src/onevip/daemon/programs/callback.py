"""callback: `CALLBACK FILE` is run after the configuration file has changed (spec ldirectord
§5.4), to copy it to the other director, say."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from onevip.daemon.events import Event, FileChanged, Reloaded, Started
from onevip.daemon.programs.turns import Turns
from onevip.model import Configuration

log = logging.getLogger(__name__)


class Callback:
    """The listener that runs it, without a shell."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()

    def heard(self, event: Event) -> None:
        match event:
            case FileChanged(configuration) if _can_be_run(configuration):
                argv = [configuration.callback, configuration.file]
                what = f"callback {configuration.callback}"
                self._turns.ask("callback", partial(self._turns.run, what, argv))
            case Started(configuration) | Reloaded(configuration):
                _warn(configuration)
            case _:
                pass

    async def close(self) -> None:
        await self._turns.close()


def _can_be_run(configuration: Configuration) -> bool:
    return bool(configuration.callback) and os.access(configuration.callback, os.X_OK)


def _warn(configuration: Configuration) -> None:
    callback = configuration.callback
    if callback and not _can_be_run(configuration):
        state = "is not executable" if Path(callback).exists() else "does not exist"
        log.warning("callback %s %s: it will not be called", callback, state)
