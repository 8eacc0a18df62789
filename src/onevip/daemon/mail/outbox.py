"""What waits to be mailed: gathered, tried again, given up. Never holds up who posts.

For each destination alerts are gathered for a second. A few go as they are, one mail each; more of
them become one mail. When a mail cannot be sent, what comes meanwhile is gathered with it, until
it can, or until it is too old.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage

from onevip.daemon.mail.carriers import NotNow, Refused, carry
from onevip.daemon.mail.letter import Alert, Destination, Host, letter

log = logging.getLogger(__name__)

GATHER_S = 1.0
MOST_SINGLE = 5  # in one second to one destination; ldirectord sends each singly
MAX_WAITING = 1000  # for one destination; then the oldest are left out
RETRY_S = (5.0, 10.0, 20.0, 40.0, 60.0)  # the last one again and again
PATIENCE_S = 300.0
#: So long the end of the daemon waits for mails that are on their way.
CLOSE_S = 5.0
MAX_SESSIONS = 4  # at one server at once

Carry = Callable[[EmailMessage, Destination, Host], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass
class _Queue:
    """The alerts for one destination, oldest first."""

    waiting: list[Alert] = field(default_factory=list)
    left_out: int = 0
    failures: int = 0  # attempts in a row
    reason: str = ""


class Outbox:
    """Takes alerts, and sends them sooner or later. Needs a running loop."""

    def __init__(
        self,
        host: Host,
        *,
        carry: Carry = carry,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._host = host
        self._carry = carry
        self._clock = clock
        self._sleep = sleep
        self._queues: dict[Destination, _Queue] = {}
        self._tasks: dict[Destination, asyncio.Task[None]] = {}
        self._sessions: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_SESSIONS)
        )
        self._closing = asyncio.Event()

    def post(self, alert: Alert, destination: Destination) -> None:
        queue = self._queues.setdefault(destination, _Queue())
        queue.waiting.append(alert)
        if len(queue.waiting) > MAX_WAITING:
            del queue.waiting[0]
            queue.left_out += 1
        if destination not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._empty(destination, queue))
            self._tasks[destination] = task

    async def close(self) -> None:
        """Try once more, for a few seconds, to send what waits; say what could not be sent."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=CLOSE_S)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for destination, queue in self._queues.items():
            self._give_up(destination, queue, queue.waiting, "onevip ends")

    async def _empty(self, destination: Destination, queue: _Queue) -> None:
        """Until nothing waits for this destination any more."""
        try:
            while queue.waiting:
                await self._pause(queue)
                self._forget_old(destination, queue)
                await self._send(destination, queue)
                if queue.failures and self._closing.is_set():
                    return
            del self._queues[destination]
        except Exception:
            log.exception("emailalert: what was for %s is lost", _names(destination))
            self._queues.pop(destination, None)
        finally:
            del self._tasks[destination]

    async def _pause(self, queue: _Queue) -> None:
        seconds = RETRY_S[min(queue.failures, len(RETRY_S)) - 1] if queue.failures else GATHER_S
        ends = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._closing.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _send(self, destination: Destination, queue: _Queue) -> None:
        """Send what waits now; what cannot be sent keeps waiting."""
        for alerts in _gathered(queue.waiting):
            message = letter(alerts, destination, self._host, queue.left_out)
            try:
                async with self._sessions[destination.smtp_host]:
                    await self._carry(message, destination, self._host)
            except Refused as error:
                queue.reason = str(error)
                self._give_up(destination, queue, alerts, "it was refused")
            except NotNow as error:
                queue.reason = str(error)
                self._say_later(destination, queue)
                queue.failures += 1
                return
            else:
                _remove(queue, alerts)
                queue.left_out = 0
            if queue.failures:
                log.info("emailalert: mails to %s are sent again", _names(destination))
                queue.failures = 0

    def _forget_old(self, destination: Destination, queue: _Queue) -> None:
        oldest = self._clock() - PATIENCE_S
        old = [alert for alert in queue.waiting if alert.at_s < oldest]
        self._give_up(destination, queue, old, f"tried for {PATIENCE_S:g} s")

    def _say_later(self, destination: Destination, queue: _Queue) -> None:
        if not queue.failures and not self._closing.is_set():
            log.warning(
                "emailalert: no mail to %s for now, trying again for %g s: %s",
                *(_names(destination), PATIENCE_S, queue.reason),
            )

    def _give_up(
        self, destination: Destination, queue: _Queue, alerts: Sequence[Alert], why: str
    ) -> None:
        if not alerts:
            return
        more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
        log.error(
            "emailalert: %s%s could not be sent to %s, %s: %s",
            *(alerts[0].subject, more, _names(destination), why, queue.reason or "no time left"),
        )
        _remove(queue, alerts)


def _gathered(waiting: Sequence[Alert]) -> list[list[Alert]]:
    """The alerts of each mail."""
    if len(waiting) <= MOST_SINGLE:
        return [[alert] for alert in waiting]
    return [list(waiting)]


def _remove(queue: _Queue, alerts: Sequence[Alert]) -> None:
    gone = set(map(id, alerts))  # meanwhile others may have come, and the oldest been left out
    queue.waiting = [alert for alert in queue.waiting if id(alert) not in gone]


def _names(destination: Destination) -> str:
    return ", ".join(destination.recipients)
