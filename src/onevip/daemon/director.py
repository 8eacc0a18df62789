"""Keeps an engine's table as configuration and verdicts want it. No event loop, no signals.

Touches only services that its configuration names or that it, or its predecessor, made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from onevip import health
from onevip.daemon.events import Event, Probed, Row, TableChanged, VerdictChanged
from onevip.daemon.ownership import BelongsToAnother, Ownership
from onevip.daemon.wanted import wanted
from onevip.engines.base import Engine
from onevip.health import State
from onevip.model import (
    AddRealServer,
    Change,
    Check,
    ConfigError,
    Configuration,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    OnevipError,
    Phase,
    RealServer,
    Table,
    diff,
)

log = logging.getLogger(__name__)


class Checks(Protocol):
    """What the director needs of `health.Checker`."""

    @property
    def states(self) -> Mapping[Check, State]: ...

    def watch(self, checks: Iterable[Check]) -> None: ...


class Director:
    """The table's keeper. `wake` is called when `converge` has something to do."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        checks: Checks,
        wake: Callable[[], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._checks = checks
        self._wake = wake
        self._tell = tell
        self._phase = Phase.STARTING
        self._configuration = Configuration(file="", services=())
        self._news: dict[Check, State] = {}  # verdicts that the table does not show yet
        self._trouble = ""
        self._users: dict[Check, list[Row]] = {}

    @property
    def configuration(self) -> Configuration:
        """The one in force."""
        return self._configuration

    def start(self, configuration: Configuration) -> None:
        """Put the first configuration in force.

        Raises OnevipError when it cannot be; then the table is left, as far as possible, as it was.
        """
        self._refuse_services_of_others(configuration)
        before = self._engine.read()
        self._take(configuration)
        try:
            self._converge_once()
        except OnevipError:
            self._put_back(before)
            raise

    def use(self, configuration: Configuration) -> None:
        """Put another configuration in force. Raises OnevipError; then the old one stays."""
        if configuration.is_blank and self._configuration.services:
            # An editor or a full disk truncated it; it would also switch autoreload off.
            hint = "to serve nothing, write a comment into it or end the daemon"
            raise ConfigError(configuration.file, 0, "is empty", hint)
        self._refuse_services_of_others(configuration)
        self._take(configuration)
        self._phase = Phase.RELOADING
        self._wake()

    def heard(self, probed: health.Probed) -> None:
        """An outcome came in."""
        rows = tuple(self._users.get(probed.check, ()))
        self._tell(Probed(probed, rows, self._configuration))
        if probed.after.verdict is not probed.before.verdict:
            self._news[probed.check] = probed.after
            self._wake()

    def converge(self) -> bool:
        """Make the table what it ought to be. False when it could not be: try again later."""
        trouble = ""
        try:
            self._converge_once()
        except OnevipError as error:
            trouble = str(error)
            self._tell_verdicts(None, None)
        except Exception as error:
            # A bug must not end the daemon: traffic and the other services go on.
            log.exception("the table could not be changed")
            trouble = f"{type(error).__name__}: {error}"
        if trouble and trouble != self._trouble:
            log.error("the table is not as wanted, trying again each second: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the table is as wanted again")
        self._trouble = trouble
        return not trouble

    def stop(self) -> bool:
        """Delete the services that want it (cleanstop), leave the others. True when done."""
        self._phase = Phase.STOPPING
        left = [s.key for s in self._configuration.services if not s.cleanstop]
        try:
            actual = self._engine.read()
            ours = actual.restricted_to(self._ownership.services)
            changes: list[Change] = [
                DeleteService(service.key) for service in ours if service.key not in left
            ]
            self._engine.apply(changes)
        except OnevipError as error:
            log.error("services are left in the table: %s", error)
            return False
        self._ownership.settle(left)
        self._tell_changes(changes, actual, {})
        return True

    def _take(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._users = {}
        for service in configuration.services:
            for server in service.real_servers:
                users = self._users.setdefault(server.check, [])
                users.append((service.key, server.real.key))
        self._checks.watch(self._users)
        self._news = {c: state for c, state in self._news.items() if c in self._users}

    def _converge_once(self) -> None:
        actual = self._engine.read()
        verdicts = {check: state.verdict for check, state in self._checks.states.items()}
        want = wanted(self._configuration, verdicts, actual)
        named = [service.key for service in want]
        self._ownership.claim(named)
        changes = diff(actual.restricted_to(self._ownership.services), want)
        try:
            self._engine.apply(changes)
        except OnevipError:
            if not self._trouble:
                raise
            # Again: then let one bad service not hold up the others.
            self._apply_service_by_service(want)
        verdicts_of = self._tell_verdicts(actual, want)
        self._tell_changes(changes, actual, verdicts_of)
        self._ownership.settle(named)
        self._phase = Phase.RUNNING

    def _apply_service_by_service(self, want: Table) -> None:
        errors: list[OnevipError] = []
        for key in self._ownership.services | set(want.services):
            try:
                actual = self._engine.read().restricted_to([key])
                self._engine.apply(diff(actual, want.restricted_to([key])))
            except OnevipError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _refuse_services_of_others(self, configuration: Configuration) -> None:
        others = self._ownership.of_others()
        for service in configuration.services:
            if service.key in others:
                raise BelongsToAnother(
                    f"{configuration.file}:{service.line}: {service.key} belongs to the daemon of "
                    f"{others[service.key]}"
                )
        self._ownership.settle(self._ownership.services - others.keys())

    def _put_back(self, before: Table) -> None:
        ours = self._ownership.services
        try:
            now = self._engine.read().restricted_to(ours)
            self._engine.apply(diff(now, before.restricted_to(ours)))
        except OnevipError as error:
            log.error("the table could not be put back as it was: %s", error)

    def _tell_verdicts(self, before: Table | None, after: Table | None) -> dict[Row, State]:
        """Tell each new verdict with what it did to its rows; without tables: it did nothing yet.

        The rows concerned, with their verdicts.
        """
        told: dict[Row, State] = {}
        for check, state in self._news.items():
            for row in self._users[check]:
                was = _row(before, row) if before else None
                now = _row(after, row) if after else None
                self._tell(VerdictChanged(row, state, was, now, applied=after is not None))
                told[row] = state
        self._news.clear()
        return told

    def _tell_changes(
        self, changes: Iterable[Change], before: Table, verdicts: Mapping[Row, State]
    ) -> None:
        for change in changes:
            verdict = None
            if isinstance(change, AddRealServer | EditRealServer):
                verdict = verdicts.get((change.service, change.real.key))
            elif isinstance(change, DeleteRealServer):
                verdict = verdicts.get((change.service, change.real))
            self._tell(TableChanged(change, before, self._phase, self._configuration, verdict))


def _row(table: Table, row: Row) -> RealServer | None:
    service, real = row
    found = table.get(service)
    return found.real_server(real) if found else None
