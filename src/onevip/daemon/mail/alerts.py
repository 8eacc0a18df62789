"""What is mailed to whom: real servers that are added, restored, quiescent, deleted, purged, and
those that are down still (spec ldirectord §6). Decides only; `outbox` sends."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import pwd
import socket
import time
from collections.abc import Callable
from email.utils import make_msgid

from onevip.daemon import ldirectord_words as words
from onevip.daemon.events import (
    Event,
    Probed,
    Reloaded,
    Row,
    Started,
    Stopping,
    TableChanged,
    VerdictChanged,
)
from onevip.daemon.mail.letter import Alert, Destination, Host
from onevip.daemon.mail.outbox import Outbox, Sleep
from onevip.daemon.mail.phases import Phases
from onevip.daemon.mail.reminders import Reminders
from onevip.health import Verdict
from onevip.model import (
    AddRealServer,
    Configuration,
    ConfiguredService,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    MailAlert,
    Phase,
    ServiceKey,
)

log = logging.getLogger(__name__)

#: How often somebody looks whether a reminder is due.
TICK_S = 1.0


class MailAlerts:
    """The listener that writes mails."""

    def __init__(
        self,
        outbox: Outbox | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._host = _this_host()
        self._outbox = outbox or Outbox(self._host)
        self._clock = clock
        self._sleep = sleep
        self._configuration = Configuration(file="", services=())
        self._services: dict[ServiceKey, ConfiguredService] = {}
        self._phases = Phases()
        self._reminders = Reminders()
        self._reminding: asyncio.Task[None] | None = None

    def heard(self, event: Event) -> None:
        match event:
            case Started(configuration):
                self._take(configuration)
            case Reloaded(configuration):
                self._phases.opening = Phase.RELOADING
                self._take(configuration)
            case Probed():
                self._probed(event)
            case VerdictChanged():
                self._verdict(event)
            case TableChanged():
                self._changed(event)
            case Stopping():
                self._end_reminders()
            case _:
                pass

    async def close(self) -> None:
        self._end_reminders()
        await self._outbox.close()

    def _take(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._services = {service.key: service for service in configuration.services}
        self._phases.take(configuration)
        self._reminders.keep_only(
            {
                (service.key, server.real.key)
                for service in configuration.services
                for server in service.real_servers
            }
        )

    def _probed(self, event: Probed) -> None:
        after, outcome = event.probed.after, event.probed.outcome
        failed = outcome.tried and not outcome.healthy
        if self._reminders and failed and after.verdict is Verdict.DOWN:
            for row in event.rows:
                if row not in event.in_maintenance:  # its reason is another one
                    self._reminders.explain(row, after.reason)

    def _verdict(self, event: VerdictChanged) -> None:
        row, phase = event.row, self._phases.of_verdict(event)
        if event.state.verdict is not Verdict.DOWN:
            self._reminders.forget(row)
            return
        self._remind(row, event.state.reason)
        if event.applied and event.before != event.after:
            return  # the change of the table says it
        is_quiescent = event.after is not None and event.after.is_quiescent
        sentence = words.quiescent(*row) if is_quiescent else words.inaccessible(*row)
        self._post(row[0], sentence, phase, event.state.reason)

    def _changed(self, event: TableChanged) -> None:
        if event.configuration is not self._configuration:
            self._take(event.configuration)  # the start's changes come before Started
        match event.change:
            case AddRealServer(service, real) | EditRealServer(service, real):
                self._real_server_changed(event, (service, real.key))
            case DeleteRealServer(service, key):
                self._real_server_changed(event, (service, key))
            case DeleteService(service):
                for sentence in words.subjects(event):
                    self._post(service, sentence, event.phase)
            case _:
                pass

    def _real_server_changed(self, event: TableChanged, row: Row) -> None:
        if self._is_merely_unproven(event, row):
            return
        verdict = event.verdict
        reason = verdict.reason if verdict and verdict.verdict is Verdict.DOWN else ""
        phase = self._phases.of_change(event, row)
        for sentence in words.subjects(event):
            self._post(row[0], sentence, phase, reason)

    def _is_merely_unproven(self, event: TableChanged, row: Row) -> bool:
        """A server that waits for its first verdict with weight 0: nothing is known yet."""
        change = event.change
        return (
            isinstance(change, AddRealServer)
            and row not in self._reminders
            and event.verdict is None
            and words.is_made_quiescent(event, change)
            and not words.is_fallback(event.configuration, *row)
        )

    def _post(self, service: ServiceKey, sentence: str, phase: Phase, reason: str = "") -> None:
        configured = self._services.get(service)
        if configured is None or configured.mail is None:
            return
        mail = configured.mail
        if not mail.to or phase not in mail.phases:
            return
        log.info("emailalert: %s", sentence)
        alert = Alert(
            sentence=sentence,
            phase=phase,
            at_s=self._clock(),
            message_id=make_msgid(domain=self._host.name),
            service_name=configured.service_name,
            comment=configured.comment,
            reason=reason,
        )
        for destination in _destinations(mail):
            self._outbox.post(alert, destination)

    def _remind(self, row: Row, reason: str) -> None:
        mail = self._services[row[0]].mail if row[0] in self._services else None
        # Known to be down also when nobody wants to be reminded.
        due_s = self._clock() + mail.repeat_s if mail and mail.repeat_s else math.inf
        self._reminders.remind(row, due_s, reason)
        if self._reminding is None and due_s < math.inf:
            self._reminding = asyncio.get_running_loop().create_task(self._remind_on_and_on())

    async def _remind_on_and_on(self) -> None:
        while True:
            await self._sleep(TICK_S)
            for row, reason in self._reminders.due(self._clock()):
                self._post(row[0], words.inaccessible(*row), Phase.RUNNING, reason)
                self._remind(row, reason)

    def _end_reminders(self) -> None:
        if self._reminding:
            self._reminding.cancel()


def _destinations(mail: MailAlert) -> list[Destination]:
    """One for each address by SMTP; the local sendmail takes all at once."""
    parts = [(address,) for address in mail.to] if mail.smtp_host else [mail.to]
    return [Destination(mail.to, part, mail.sender, mail.smtp_host) for part in parts]


def _this_host() -> Host:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without this user
        user = "root"
    return Host(user, socket.gethostname())
