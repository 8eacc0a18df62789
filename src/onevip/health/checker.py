"""Keeps all checks going at once: one task per check, none waits for another.

Reports each outcome's state; decides nothing about weights.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from onevip.health.rhythm import Rhythm
from onevip.health.verdict import State, initial, step
from onevip.model import Check, Outcome

log = logging.getLogger(__name__)

#: First probes are spread so that about this many start in a second.
FIRST_PROBES_PER_S = 1000
#: What stops the director's own probes is logged once, and again after so long without it.
QUIET_S = 60.0

#: Check, name of the probe to run → what it found.
Attempt = Callable[[Check, str], Awaitable[Outcome]]
#: Called for every outcome.
Report = Callable[["Probed"], None]


@dataclass(frozen=True, slots=True)
class Probed:
    """One outcome, and what it made of the check's state. `probe`: its name, see Check.probes."""

    check: Check
    probe: str
    outcome: Outcome
    before: State
    after: State


class Checker:
    """The checks in force and what is known of each. Equal checks are one check."""

    def __init__(
        self,
        attempt: Attempt,
        report: Report,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._attempt = attempt
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._states: dict[Check, State] = {}
        self._next: dict[Check, float] = {}
        self._tasks: dict[Check, asyncio.Task[None]] = {}
        self._trouble: dict[str, float] = {}  # of our own → when it was last met

    @property
    def states(self) -> dict[Check, State]:
        """What is known now of every check in force."""
        return dict(self._states)

    def next_probe_s(self, check: Check) -> float | None:
        """In how many seconds it is probed again; None: never, or just now."""
        at = self._next.get(check, 0.0) - self._clock()
        return at if at > 0 else None

    def watch(self, checks: Iterable[Check]) -> None:
        """Make these the checks in force, and start probing those that are new.

        Those that were in force before keep their state and their rhythm. Needs a running loop;
        no probe begins before the caller yields to it.
        """
        wanted = set(checks)
        for check in self._states.keys() - wanted:
            del self._states[check]
            self._next.pop(check, None)
            if task := self._tasks.pop(check, None):
                task.cancel()
        new = wanted - self._states.keys()
        now = self._clock()
        spread_s = len(new) / FIRST_PROBES_PER_S
        for check in new:
            self._states[check] = initial(check, now)
            if check.probes:
                delay_s = self._chance() * min(spread_s, check.interval_s)
                self._tasks[check] = asyncio.create_task(self._probe_on_and_on(check, delay_s))

    async def stop(self) -> None:
        """End all probes."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe_on_and_on(self, check: Check, delay_s: float) -> None:
        # The first verdict comes soon; the second probe takes a place of its own in the interval,
        # so that checks that began together do not go on together.
        period_s = check.interval_s * self._chance()
        rhythm = Rhythm(check)
        while True:
            self._next[check] = self._clock() + delay_s
            await self._sleep(delay_s)
            started = self._clock()
            name = rhythm.next
            outcome = await self._attempt(check, name)
            rhythm.heard(name, outcome)
            self._take_in(check, name, outcome)
            delay_s = max(0.0, started + period_s - self._clock())
            period_s = self._period_s(check)

    def _period_s(self, check: Check) -> float:
        """From one probe to the next: the interval, give or take `jitter` per cent of it."""
        if not check.jitter:
            return check.interval_s
        return check.interval_s * (1 + check.jitter / 100 * (2 * self._chance() - 1))

    def _take_in(self, check: Check, name: str, outcome: Outcome) -> None:
        if not outcome.tried:
            self._tell_trouble(outcome.reason)
        before = self._states[check]
        after = self._states[check] = step(before, outcome, self._clock())
        try:
            self._report(Probed(check, name, outcome, before, after))
        except Exception:
            log.exception("the outcome of %s could not be reported", check)

    def _tell_trouble(self, reason: str) -> None:
        now = self._clock()
        if now - self._trouble.get(reason, -QUIET_S) >= QUIET_S:
            log.error("servers keep their verdicts because checks cannot be made: %s", reason)
        self._trouble[reason] = now
