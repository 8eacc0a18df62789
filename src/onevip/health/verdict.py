"""Verdicts on real servers. Decides only; probes run elsewhere, the clock comes as `now`."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from onevip.model import Check, CheckType, Outcome


class Verdict(enum.Enum):
    UP = "up"
    DOWN = "down"
    UNPROVEN = "unproven"  # no verdict yet: never answered, not failed often enough


@dataclass(frozen=True, slots=True)
class State:
    """What the outcomes of one check have led to so far."""

    failure_count: int  # consecutive failures before the verdict is down
    verdict: Verdict = Verdict.UNPROVEN
    failures: int = 0  # consecutive ones, up to now
    reason: str = "not checked yet"  # of the last outcome
    since_s: float = 0.0  # when the verdict last changed


#: Checks that are never probed: their first verdict is their last.
SETTLED = {
    CheckType.ON: (Verdict.UP, "checktype is on"),
    CheckType.OFF: (Verdict.DOWN, "checktype is off"),
}


def initial(check: Check, now: float) -> State:
    """The state before the first probe."""
    state = State(check.failure_count, since_s=now)
    if check.type not in SETTLED:
        return state
    verdict, reason = SETTLED[check.type]
    return replace(state, verdict=verdict, reason=reason)


def step(state: State, outcome: Outcome, now: float) -> State:
    """One success makes up; `failure_count` failures in a row make down."""
    if outcome.healthy:
        verdict, failures = Verdict.UP, 0
    else:
        failures = state.failures + 1
        verdict = Verdict.DOWN if failures >= state.failure_count else state.verdict
    return replace(
        state,
        verdict=verdict,
        failures=failures,
        reason=outcome.reason,
        since_s=state.since_s if verdict is state.verdict else now,
    )
