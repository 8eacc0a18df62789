"""Verdicts: when a real server is up, when down, when nobody knows yet."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onevip.health import State, Verdict, initial, step
from onevip.model import Check, CheckType, Outcome

GOOD = Outcome(True, "status 200")
BAD = Outcome(False, "connection refused")
UNTRIED = Outcome(False, "out of file descriptors", tried=False)


def check(
    kind: CheckType = CheckType.NEGOTIATE, failure_count: int = 1, rise_count: int = 1
) -> Check:
    counts = {"failure_count": failure_count, "rise_count": rise_count}
    return Check(kind, IPv4Address("10.0.0.2"), 80, 3, 1, service="http", **counts)


def after(*outcomes: Outcome, failure_count: int = 1, rise_count: int = 1) -> State:
    state = initial(check(failure_count=failure_count, rise_count=rise_count), now=100.0)
    for second, outcome in enumerate(outcomes):
        state = step(state, outcome, now=101.0 + second)
    return state


def test_nothing_is_known_before_the_first_probe():
    assert after().verdict is Verdict.UNPROVEN
    assert after().since_s == 100


@pytest.mark.parametrize(
    ("kind", "verdict"), [(CheckType.ON, Verdict.UP), (CheckType.OFF, Verdict.DOWN)]
)
def test_on_and_off_need_no_probe(kind, verdict):
    assert initial(check(kind, failure_count=5), now=0).verdict is verdict


def test_one_success_makes_up_and_one_failure_makes_down():
    assert after(GOOD).verdict is Verdict.UP
    assert after(BAD).verdict is Verdict.DOWN
    assert after(BAD, GOOD).verdict is Verdict.UP


def test_failurecount_failures_in_a_row_make_down():
    assert after(GOOD, BAD, BAD, failure_count=3).verdict is Verdict.UP
    assert after(GOOD, BAD, BAD, BAD, failure_count=3).verdict is Verdict.DOWN
    assert after(BAD, BAD, failure_count=3).verdict is Verdict.UNPROVEN


def test_a_success_between_failures_starts_the_count_again():
    assert after(GOOD, BAD, BAD, GOOD, BAD, BAD, failure_count=3).verdict is Verdict.UP


def test_reason_and_time_of_the_verdict_are_kept():
    state = after(GOOD, BAD, BAD)
    assert (state.reason, state.since_s, state.failures) == ("connection refused", 102, 2)


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_the_verdict_depends_only_on_the_last_success_and_what_came_after(healths, count):
    state = after(*(GOOD if health else BAD for health in healths), failure_count=count)
    trailing = healths[::-1].index(True) if True in healths else len(healths)
    assert state.failures == trailing
    if trailing >= count:
        assert state.verdict is Verdict.DOWN
    else:
        assert state.verdict is (Verdict.UP if True in healths else Verdict.UNPROVEN)


def test_an_unproven_one_rises_at_once_and_one_that_was_down_after_risecount_successes():
    assert after(GOOD, rise_count=3).verdict is Verdict.UP
    assert after(BAD, GOOD, GOOD, rise_count=3).verdict is Verdict.DOWN
    assert after(BAD, GOOD, GOOD, GOOD, rise_count=3).verdict is Verdict.UP
    assert after(BAD, GOOD, GOOD, BAD, GOOD, GOOD, rise_count=3).verdict is Verdict.DOWN


@given(st.lists(st.booleans()), st.integers(1, 4), st.integers(1, 4))
def test_down_to_up_takes_risecount_successes_in_a_row_and_up_to_down_failurecount_failures(
    healths, failure_count, rise_count
):
    state = initial(check(failure_count=failure_count, rise_count=rise_count), now=0)
    for at, healthy in enumerate(healths):
        before = state.verdict
        state = step(state, GOOD if healthy else BAD, now=at)
        in_a_row = {
            True: all(healths[max(0, at + 1 - rise_count) : at + 1]) and at + 1 >= rise_count,
            False: not any(healths[max(0, at + 1 - failure_count) : at + 1])
            and at + 1 >= failure_count,
        }
        match before:
            case Verdict.UNPROVEN if healthy:
                assert state.verdict is Verdict.UP
            case Verdict.DOWN:
                assert (state.verdict is Verdict.UP) == in_a_row[True]
            case _:
                assert (state.verdict is Verdict.DOWN) == in_a_row[False]


@given(st.lists(st.sampled_from([GOOD, BAD, UNTRIED])), st.integers(1, 4), st.integers(1, 4))
def test_what_was_not_tried_counts_for_nothing(outcomes, failure_count, rise_count):
    counts = {"failure_count": failure_count, "rise_count": rise_count}
    whole = after(*outcomes, **counts)
    tried = after(*(outcome for outcome in outcomes if outcome.tried), **counts)
    assert (whole.verdict, whole.failures, whole.successes) == (
        tried.verdict,
        tried.failures,
        tried.successes,
    )


def test_why_it_was_not_tried_is_shown():
    assert after(GOOD, UNTRIED).reason == "out of file descriptors"
