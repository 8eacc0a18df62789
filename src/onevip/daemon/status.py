"""What the maps cannot hold, as JSON: verdicts with their reasons, names, what is by hand.

The fields are documented in docs/control.md. Counters and weights in force are the maps' own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onevip import __version__
from onevip.daemon.differences import Difference
from onevip.daemon.director import Director
from onevip.daemon.events import Event, NotReloaded, Reloaded, Row
from onevip.health import State
from onevip.model import (
    Check,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    OnevipError,
    RealServerKey,
)

#: Real servers between two looks at the loop's other work.
AT_A_TIME = 100


def uncheckable(configuration: Configuration, probes: Iterable[str]) -> list[str]:
    """The real servers for whose checks this version has no probe: they count as down."""
    known = set(probes)
    return [
        f"real server {server.real.key} of {service.key} cannot be checked by this version "
        f"({missing[0]}) and counts as down"
        for service in configuration.services
        for server in service.real_servers
        if (missing := [name for name in server.check.probes if name not in known])
    ]


@dataclass(slots=True)
class Status:
    """A listener that remembers reloads; `report` adds what the director knows."""

    file: str
    director: Director
    next_probe_s: Callable[[Check], float | None]
    uncheckable: Callable[[Configuration], list[str]]
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    reloaded: float | None = field(init=False, default=None)
    reload_error: dict[str, object] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.started = self.wall()

    def heard(self, event: Event) -> None:
        match event:
            case Reloaded():
                self.reloaded, self.reload_error = self.wall(), None
            case NotReloaded(error=error):
                self.reload_error = {"at": self.wall(), "error": str(error)}
            case _:
                pass

    async def close(self) -> None:
        """Nothing is held."""

    async def report(self) -> dict[str, Any]:
        """What is so now; a long report in parts, between which the loop does its other work."""
        configuration = self.director.configuration
        states = self.director.standings.states()
        services = []
        trouble = self.director.trouble
        for service in configuration.services:
            try:
                differences = self.director.differences(service.key)
            except OnevipError as error:
                differences, trouble = [], f"the table cannot be read: {error}"
            services.append(await self._service(service, states, differences))
        return {
            "onevip": __version__,
            "pid": os.getpid(),
            "file": self.file,
            "started": self.started,
            "uptime_s": self.wall() - self.started,
            "phase": self.director.phase.value,
            "reloaded": self.reloaded,
            "reload_error": self.reload_error,
            "trouble": trouble or None,
            "warnings": list(configuration.warnings),
            "uncheckable": self.uncheckable(configuration),
            "services": services,
        }

    async def _service(
        self,
        service: ConfiguredService,
        states: Mapping[Row, State],
        differences: Sequence[Difference],
    ) -> dict[str, Any]:
        by_real = {difference.real: difference for difference in differences}
        servers: dict[RealServerKey, dict[str, Any]] = {}
        for number, server in enumerate(service.real_servers, 1):
            key = server.real.key  # of several lines of one server the last one counts
            servers[key] = self._server(server, states[service.key, key], by_real.get(key))
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        of_strangers = [d for d in differences if d.real is not None and d.real not in servers]
        return {
            "service": str(service.key),
            "id": service.id,
            "name": service.service_name or None,
            "comment": service.comment or None,
            "line": service.line,
            "fallback": str(service.fallback.key) if service.fallback else None,
            "fallback_on": self.director.standings.fallback_is_on(service.key),
            "differences": [
                *(difference.words for difference in differences if difference.real is None),
                *(f"{difference.real}: {difference.words}" for difference in of_strangers),
            ],
            "servers": list(servers.values()),
        }

    def _server(
        self, server: ConfiguredRealServer, state: State, difference: Difference | None
    ) -> dict[str, Any]:
        check = server.check
        ago_s = self.clock() - state.since_s
        return {
            "server": str(server.real.key),
            "host": server.host or None,
            "line": server.line,
            "check": check.service if check.service in check.probes else check.type.value,
            "verdict": state.verdict.value,
            "reason": state.reason,
            "since": self.wall() - ago_s,
            "since_s": ago_s,
            "failures": state.failures,
            "failure_count": state.failure_count,
            "successes": state.successes,
            "rise_count": state.rise_count,
            "next_check_s": self.next_probe_s(check),
            "configured_weight": server.real.weight,
            "by_hand": dict(difference.terms) if difference else {},
            "difference": difference.words if difference else None,
        }
