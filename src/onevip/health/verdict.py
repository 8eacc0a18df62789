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
    rise_count: int = 1  # consecutive successes before one that is down is up
    verdict: Verdict = Verdict.UNPROVEN
    failures: int = 0  # consecutive ones, up to now
    successes: int = 0  # likewise
    reason: str = "not checked yet"  # of the last outcome
    since_s: float = 0.0  # when the verdict last changed


def initial(check: Check, now: float) -> State:
    """The state before the first probe."""
    state = State(check.failure_count, check.rise_count, since_s=now)
    if check.probes:
        return state
    if check.type is CheckType.OFF:
        return replace(state, verdict=Verdict.DOWN, reason="checktype is off")
    reason = "checktype is on" if check.type is CheckType.ON else "service is none"
    return replace(state, verdict=Verdict.UP, reason=reason)


def step(state: State, outcome: Outcome, now: float) -> State:
    """`failure_count` failures in a row make down, `rise_count` successes up; the first makes an
    unproven one up at once. What was not tried counts for nothing."""
    if not outcome.tried:
        return replace(state, reason=outcome.reason)
    if outcome.healthy:
        failures, successes = 0, state.successes + 1
        risen = state.verdict is not Verdict.DOWN or successes >= state.rise_count
        verdict = Verdict.UP if risen else state.verdict
    else:
        failures, successes = state.failures + 1, 0
        verdict = Verdict.DOWN if failures >= state.failure_count else state.verdict
    return replace(
        state,
        verdict=verdict,
        failures=failures,
        successes=successes,
        reason=outcome.reason,
        since_s=state.since_s if verdict is state.verdict else now,
    )
