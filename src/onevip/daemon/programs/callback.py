"""callback: `CALLBACK FILE` is run after the configuration file has changed (spec ldirectord
§5.4), to copy it to the other director, say."""

from __future__ import annotations

import os
from functools import partial

from onevip.daemon.events import Event, FileChanged, Reloaded
from onevip.daemon.programs.turns import Turns
from onevip.model import Configuration


class Callback:
    """The listener that runs it, without a shell."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()
        self._was_told = False  # of the change that the next reload reads

    def heard(self, event: Event) -> None:
        match event:
            case FileChanged(configuration):
                self._was_told = True
                self._call(configuration)
            case Reloaded(configuration, former):
                if configuration != former and not self._was_told:  # SIGHUP was faster
                    self._call(configuration)
                self._was_told = False
            case _:
                pass

    async def close(self) -> None:
        await self._turns.close()

    def _call(self, configuration: Configuration) -> None:
        if _can_be_run(configuration):
            argv = [configuration.callback, configuration.file]
            what = f"callback {configuration.callback}"
            self._turns.ask("callback", partial(self._turns.run, what, argv))


def _can_be_run(configuration: Configuration) -> bool:
    return bool(configuration.callback) and os.access(configuration.callback, os.X_OK)
