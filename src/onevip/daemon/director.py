"""Keeps an engine's table as configuration and verdicts want it. No event loop, no signals.

Touches only services that its configuration names or that it, or its predecessor, made; and of
these, once they are in force, only rows whose verdict changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from onevip import health
from onevip.daemon import aims, differences
from onevip.daemon.aims import Aims, Known
from onevip.daemon.by_hand import Note
from onevip.daemon.differences import Difference
from onevip.daemon.events import Event, Probed, Row
from onevip.daemon.news import News
from onevip.daemon.ownership import BelongsToAnother, Ownership
from onevip.daemon.standings import Checks, Standings
from onevip.daemon.wanted import rows_of
from onevip.engines.base import Engine
from onevip.health import State
from onevip.model import (
    Change,
    ConfigError,
    Configuration,
    DeleteService,
    OnevipError,
    Phase,
    RealServerKey,
    ServiceKey,
    Table,
    VirtualService,
    diff,
)

log = logging.getLogger(__name__)


class Director:
    """The table's keeper. `wake` is called when `converge` has something to do."""

    def __init__(
        self,
        engine: Engine,
        ownership: Ownership,
        checks: Checks,
        wake: Callable[[], None],
        tell: Callable[[Event], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._notes = ownership.notes
        self._standings = Standings(checks, clock)
        self._wake = wake
        self._tell = tell
        self._news = News(tell)
        self._phase = Phase.STARTING
        self._configuration = Configuration(file="", services=())
        self._in_force = False  # all of the configuration has been in the table once
        self._due: dict[ServiceKey, set[RealServerKey]] = {}
        self._trouble = ""

    @property
    def configuration(self) -> Configuration:
        """The one in force."""
        return self._configuration

    @property
    def phase(self) -> Phase:
        """What it is about."""
        return self._phase

    @property
    def trouble(self) -> str:
        """Why the table is not as wanted; "" when it is."""
        return self._trouble

    @property
    def standings(self) -> Standings:
        """The rows of the configuration and the verdicts on them."""
        return self._standings

    def differences(self, service: ServiceKey) -> list[Difference]:
        """Where somebody changed a service by hand; none of one that went. Raises OnevipError."""
        if service not in self._standings.services:
            return []
        actual = self._engine.read([service]).get(service)
        known = self._known(service, self._standings.state_now())
        is_on = self._standings.fallback_is_on(service)
        return list(differences.of(known, actual, fallback_is_on=is_on))

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
        self._turn_fallbacks(self._standings.services)

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
        rows = self._standings.users(probed.check)
        resting = tuple(row for row in rows if self._standings.is_in_maintenance(row))
        self._tell(Probed(probed, rows, self._configuration, resting))
        if probed.after.verdict is not probed.before.verdict:
            for row in rows:
                if row not in resting:
                    self._judge(row, probed.after)

    def maintain(self, files: Mapping[Row, str]) -> None:
        """These servers are in maintenance from now on, for a file of this name; no others are."""
        for row, state in self._standings.maintain(files):
            self._judge(row, state)

    def converge(self) -> bool:
        """Make the table what it ought to be. False when it could not be: try again later."""
        trouble = ""
        concerned = self._concerned()
        try:
            self._converge_once()
        except OnevipError as error:
            trouble = str(error)
            self._news.tell_verdicts(concerned, None, None)
        except Exception as error:
            # A bug must not end the daemon: traffic and the other services go on.
            log.exception("the table could not be changed")
            trouble = f"{type(error).__name__}: {error}"
        if trouble and trouble != self._trouble:
            log.error("the table is not as wanted, trying again each second: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the table is as wanted again")
        self._trouble = trouble
        self._turn_fallbacks(concerned)
        return not trouble

    def stop(self) -> bool:
        """Delete the services that want it (cleanstop), leave the others. True when done."""
        self._phase = Phase.STOPPING
        left = {s.key for s in self._configuration.services if not s.cleanstop}
        try:
            actual = self._engine.read(self._ownership.services)
            going = [service for service in actual if service.key not in left]
            changes: list[Change] = [DeleteService(service.key) for service in going]
            self._note_the_end(going, left)
            self._engine.apply(changes)
        except OnevipError as error:
            log.error("services are left in the table: %s", error)
            return False
        self._ownership.settle(left)
        self._news.tell_changes(changes, actual, {}, self._phase, self._configuration)
        return True

    def _note_the_end(self, going: Iterable[VirtualService], left: Collection[ServiceKey]) -> None:
        """What was set by hand in services that end with the daemon is set again by the next."""
        kept: dict[Row, Note] = {}
        for service in going:
            found = rows_of(service)
            for key in self._standings.servers.get(service.key, ()):
                note = self._notes.get((service.key, key))
                if terms := note.terms_of(found.get(key)):
                    kept[service.key, key] = replace(note, left=(found.get(key), None), terms=terms)
        self._notes.put(kept)
        self._notes.keep(row for row in self._notes.rows() if row[0] in left or row in kept)

    def _take(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._standings.take(configuration)
        self._news.keep(set(self._standings.rows()))
        self._due = {}
        self._in_force = False

    def _judge(self, row: Row, state: State) -> None:
        service, key = row
        self._news.add(row, state)
        self._due.setdefault(service, set()).add(key)
        self._wake()

    # The table.

    def _concerned(self) -> list[ServiceKey]:
        if self._in_force:
            return list(self._due)
        configured = self._standings.services
        return [*configured, *(self._ownership.services - configured.keys())]

    def _converge_once(self) -> None:
        concerned, was_in_force = self._concerned(), self._in_force
        if not was_in_force:
            self._ownership.claim(self._standings.services)
        try:
            self._put_right(concerned)
        except OnevipError:
            if not self._trouble:
                raise
            # Again: then let one bad service not hold up the others.
            self._put_right_one_by_one(concerned)
        if not was_in_force:
            self._ownership.settle(self._standings.services)
            self._notes.keep(self._standings.rows())
            self._in_force = True
        self._phase = Phase.RUNNING

    def _put_right_one_by_one(self, services: Iterable[ServiceKey]) -> None:
        errors: list[OnevipError] = []
        for key in services:
            try:
                self._put_right([key])
            except OnevipError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _put_right(self, services: Collection[ServiceKey]) -> None:
        actual = self._engine.read(services)
        state_of = self._standings.state_now()
        named = [key for key in services if key in self._standings.services]
        steps = [self._aims(self._known(key, state_of), actual.get(key)) for key in named]
        gone = [service for service in actual if service.key not in self._standings.services]
        after = Table.of(step.after for step in steps)
        before = Table.of([*gone, *(step.before for step in steps if step.before)])
        changes = diff(before, after)
        for step in steps:
            self._notes.put(step.ahead)
        self._engine.apply(changes)
        for step in steps:
            self._notes.put(step.notes)
        told = self._news.tell_verdicts(services, actual, after)
        self._news.tell_changes(changes, actual, told, self._phase, self._configuration)
        for key in services:
            self._due.pop(key, None)

    def _aims(self, known: Known, found: VirtualService | None) -> Aims:
        key = known.service.key
        if not self._in_force or found is None:
            self._standings.leave_alone(key, found, lambda real: known.note_of(real).verdict)
            return aims.of_whole(known, found)
        readd = self._configuration.readd_quiescent
        return aims.of_rows(known, self._due.get(key, ()), found, readd=readd)

    def _known(self, key: ServiceKey, state_of: Callable[[Row], State]) -> Known:
        return Known(
            self._standings.services[key],
            self._standings.servers[key],
            lambda real: state_of((key, real)).verdict,
            lambda real: self._notes.get((key, real)),
        )

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
            now = self._engine.read(ours)
            self._engine.apply(diff(now, before.restricted_to(ours)))
        except OnevipError as error:
            log.error("the table could not be put back as it was: %s", error)

    def _turn_fallbacks(self, services: Iterable[ServiceKey]) -> None:
        for turned in self._standings.turned(services):
            self._tell(turned)
