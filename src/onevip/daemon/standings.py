"""How each row of a configuration stands: what its check says, maintenance, `checktype=off`.

Decides nothing about the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from onevip.daemon.events import FallbackTurned, Row
from onevip.daemon.wanted import rows_of, standing
from onevip.health import State, Verdict
from onevip.model import (
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    RealServerKey,
    ServiceKey,
    VirtualService,
)


class Checks(Protocol):
    """What is needed of `health.Checker`."""

    @property
    def states(self) -> Mapping[Check, State]: ...

    def watch(self, checks: Iterable[Check]) -> None: ...


class Standings:
    """The rows of the configuration in force and the verdicts on them."""

    def __init__(self, checks: Checks, clock: Callable[[], float]) -> None:
        self._checks = checks
        self._clock = clock
        self.services: dict[ServiceKey, ConfiguredService] = {}
        #: Of several `real=` lines with one address and port in a service the last one counts.
        self.servers: dict[ServiceKey, dict[RealServerKey, ConfiguredRealServer]] = {}
        self._users: dict[Check, list[Row]] = {}
        self._maintenance: dict[Row, State] = {}
        self._left_alone: set[Row] = set()  # checktype=off, with weight at the start
        self._fallbacks: dict[ServiceKey, bool] = {}  # as last told

    def take(self, configuration: Configuration) -> None:
        """Another configuration; what is known of equal checks and rows is kept."""
        self.services = {service.key: service for service in configuration.services}
        self.servers = {
            service.key: {server.real.key: server for server in service.real_servers}
            for service in configuration.services
        }
        self._users = {}
        for row in self.rows():
            self._users.setdefault(self._check(row), []).append(row)
        self._checks.watch(self._users)
        rows = set(self.rows())
        self._maintenance = {row: s for row, s in self._maintenance.items() if row in rows}
        self._left_alone &= rows
        self._fallbacks = {key: on for key, on in self._fallbacks.items() if key in self.services}

    def rows(self) -> Iterator[Row]:
        """Every row, in the order of the configuration."""
        for service, servers in self.servers.items():
            for real in servers:
                yield service, real

    def users(self, check: Check) -> tuple[Row, ...]:
        """The rows that share this check."""
        return tuple(self._users.get(check, ()))

    def is_in_maintenance(self, row: Row) -> bool:
        return row in self._maintenance

    def states(self) -> dict[Row, State]:
        """What is known now of every row."""
        state_of = self.state_now()
        return {row: state_of(row) for row in self.rows()}

    def state_now(self) -> Callable[[Row], State]:
        """Row → how it stands at this moment. A server in maintenance is down."""
        known = self._checks.states

        def state_of(row: Row) -> State:
            if forced := self._maintenance.get(row):
                return forced
            state = known[self._check(row)]
            return replace(state, verdict=Verdict.UP) if row in self._left_alone else state

        return state_of

    def maintain(self, files: Mapping[Row, str]) -> list[tuple[Row, State]]:
        """These are in maintenance from now on, for a file of that name; no others are.

        The rows whose verdict changes by that.
        """
        changed = []
        state_of = self.state_now()
        for row in (self._maintenance.keys() | files.keys()) & set(self.rows()):
            before = state_of(row)
            self._maintenance.pop(row, None)
            if row in files:
                reason = f"in maintenance: file {files[row]}"
                since_s = before.since_s if before.reason == reason else self._clock()
                self._maintenance[row] = replace(
                    before, verdict=Verdict.DOWN, successes=0, reason=reason, since_s=since_s
                )
            after = state_of(row)
            if after.verdict not in (before.verdict, Verdict.UNPROVEN):
                changed.append((row, after))
        return changed

    def leave_alone(
        self,
        key: ServiceKey,
        found: VirtualService | None,
        last_of: Callable[[RealServerKey], Verdict],
    ) -> None:
        """`checktype=off`: who has weight in the table now keeps it, as if it were up."""
        there = rows_of(found)
        for real, server in self.servers[key].items():
            row = (key, real)
            if server.check.type is not CheckType.OFF or row in self._maintenance:
                continue
            verdict = standing(server, Verdict.DOWN, there.get(real), last_of(real))
            if verdict is Verdict.UP:
                self._left_alone.add(row)
            else:
                self._left_alone.discard(row)

    def fallback_is_on(self, key: ServiceKey) -> bool:
        """Whether it was told last that the service has no real server that is up."""
        return self._fallbacks.get(key, False)

    def turned(self, services: Iterable[ServiceKey]) -> Iterator[FallbackTurned]:
        """Which of these have lost their last real server that is up, or have one again.

        Nothing of a service whose servers are unproven while none is up: it may have one.
        """
        state_of = self.state_now()
        for key in services:
            on = self._has_none_up(key, state_of)
            if on is None or self._fallbacks.get(key) is on:
                continue
            self._fallbacks[key] = on
            yield FallbackTurned(self.services[key], on)

    def _has_none_up(self, key: ServiceKey, state_of: Callable[[Row], State]) -> bool | None:
        is_known = True
        for real in self.servers.get(key, ()):
            verdict = state_of((key, real)).verdict
            if verdict is Verdict.UP:
                return False
            is_known = is_known and verdict is not Verdict.UNPROVEN
        return True if is_known and key in self.servers else None

    def _check(self, row: Row) -> Check:
        service, real = row
        return self.servers[service][real].check
