"""execute: other instances that start, reload and stop with this one (spec ldirectord §1, §2)."""

from __future__ import annotations

import os
import sys
from functools import partial

from onevip import processes
from onevip.daemon.events import Event, Reloaded, Started, Stopping
from onevip.daemon.programs.turns import Turns


class Instances:
    """The listener that runs `ldirectord NAME start|reload|stop` for each."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()

    def heard(self, event: Event) -> None:
        match event:
            case Started(configuration):
                self._ask("start", configuration.children)
            case Reloaded(configuration, former):
                names, known = configuration.children, former.children
                self._ask("stop", tuple(name for name in known if name not in names))
                for name in names:
                    if name in known:
                        self._turns.ask(name, partial(self._reload_or_start, name))
                    else:
                        self._ask("start", (name,))
            case Stopping(configuration):
                self._ask("stop", configuration.children)
            case _:
                pass

    async def close(self) -> None:
        await self._turns.close()

    def _ask(self, command: str, names: tuple[str, ...]) -> None:
        for name in names:
            self._turns.ask(name, partial(self._run, name, command))

    async def _reload_or_start(self, name: str) -> None:
        if not await self._run(name, "reload"):
            await self._run(name, "start")

    async def _run(self, name: str, command: str) -> bool:
        argv = [sys.executable, "-m", "onevip", "ldirectord", unquoted(name), command]
        return await self._turns.run(f"execute={name}: {command}", argv, own_environment())


def unquoted(name: str) -> str:
    """The name as a shell would have seen it: the manual writes `execute = "name"`."""
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def own_environment() -> dict[str, str]:
    """For our own program: what all may know, and where Python finds it."""
    own = {name: os.environ[name] for name in ("PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    return processes.environment() | own
