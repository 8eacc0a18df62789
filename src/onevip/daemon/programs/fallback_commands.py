"""fallbackcommand: a shell's command line, run when the last real server of a service goes down
and when the first one comes back (spec ldirectord §5.2).

Not when the daemon ends: the service itself goes then (cleanstop), or works on without it.
"""

from __future__ import annotations

from functools import partial

from onevip.daemon import ldirectord_words as words
from onevip.daemon.events import Event, FallbackTurned, Reloaded
from onevip.daemon.programs.turns import Turns
from onevip.model import ConfiguredService, ServiceKey

SHELL = "/bin/sh"


class FallbackCommands:
    """The listener that runs `CMD start|stop VIP:VPORT PROTOCOL`."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()
        self._is_on: dict[ServiceKey, bool] = {}  # as the command was last told

    def heard(self, event: Event) -> None:
        match event:
            case FallbackTurned(service, on) if service.fallback_command:
                self._turns.ask(service.key, partial(self._turn, service, on))
            case Reloaded(configuration):
                named = {service.key for service in configuration.services}
                self._is_on = {key: on for key, on in self._is_on.items() if key in named}
            case _:
                pass

    async def close(self) -> None:
        await self._turns.close()

    async def _turn(self, service: ConfiguredService, on: bool) -> None:
        if self._is_on.get(service.key) is on:
            return  # it was turned there and back while the command ran
        self._is_on[service.key] = on
        verb = "start" if on else "stop"
        line = f"{service.fallback_command} {verb} {' '.join(_place(service.key))}"
        await self._turns.run(f"fallbackcommand {verb} of {service.id}", [SHELL, "-c", line])


def _place(service: ServiceKey) -> tuple[str, str]:
    """What tells the command which service it is; of every mark ldirectord says `:0 fwm`."""
    if service.mark:
        return str(service.mark), "fwm6" if service.address.version == 6 else "fwm"
    return words.virtual(service), service.protocol.name.lower()
