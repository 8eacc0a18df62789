"""Keeps an engine's table as configuration and verdicts want it. No event loop, no signals.

Touches only services that its configuration names or that it, or its predecessor, made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from onevip.daemon import words
from onevip.daemon.ownership import BelongsToAnother, Ownership
from onevip.daemon.wanted import wanted
from onevip.engines.base import Engine
from onevip.health import State, Verdict
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
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
    diff,
)

log = logging.getLogger(__name__)

Row = tuple[ServiceKey, RealServerKey]


class Checks(Protocol):
    """What the director needs of `health.Checker`."""

    @property
    def states(self) -> Mapping[Check, State]: ...

    def watch(self, checks: Iterable[Check]) -> None: ...


class Director:
    """The table's keeper. `wake` is called when `converge` has something to do."""

    def __init__(
        self, engine: Engine, ownership: Ownership, checks: Checks, wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._checks = checks
        self._wake = wake
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
        self._wake()

    def heard(self, check: Check, before: State, after: State) -> None:
        """An outcome came in."""
        if after.verdict is not before.verdict:
            self._news[check] = after
            self._wake()
        elif after.failures and after.verdict is not Verdict.DOWN:
            for service, real in self._users.get(check, ()):
                log.info("%s", words.soft_failure(service, real, after))

    def converge(self) -> bool:
        """Make the table what it ought to be. False when it could not be: try again later."""
        trouble = ""
        try:
            self._converge_once()
        except OnevipError as error:
            trouble = str(error)
            self._tell_news_alone()
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
        self._tell(changes, actual, told=set())
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
        told = self._tell_news(actual, want)
        self._tell(changes, actual, told)
        self._ownership.settle(named)

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

    def _tell_news(self, before: Table, after: Table) -> set[Row]:
        """Log each new verdict with what it does to the weight; the rows that are told by this."""
        told: set[Row] = set()
        for check, state in self._news.items():
            for service, real in self._users[check]:
                was, now = _row(before, service, real), _row(after, service, real)
                log.info("%s", words.verdict(service, real, state, was, now))
                told.add((service, real))
        self._news.clear()
        return told

    def _tell_news_alone(self) -> None:
        for check, state in self._news.items():
            for service, real in self._users[check]:
                log.info("%s", words.verdict_alone(service, real, state))
        self._news.clear()

    def _tell(self, changes: Iterable[Change], before: Table, told: set[Row]) -> None:
        for change in changes:
            if isinstance(change, AddRealServer | EditRealServer):
                row = (change.service, change.real.key)
            elif isinstance(change, DeleteRealServer):
                row = (change.service, change.real)
            else:
                row = None
            if row not in told:
                log.info("%s", words.change(change, before, self._configuration))


def _row(table: Table, service: ServiceKey, real: RealServerKey) -> RealServer | None:
    found = table.get(service)
    return found.real_server(real) if found else None
