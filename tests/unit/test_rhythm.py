"""checktype=N: which probe is next, held against the real program's own counting."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from onevip.health.rhythm import Rhythm
from onevip.model import Check, CheckType, Outcome

GOOD = Outcome(True, "")
BAD = Outcome(False, "")
UNTRIED = Outcome(False, "", tried=False)


def combined(connects: int, service: str = "http") -> Check:
    address = IPv4Address("10.0.0.2")
    return Check(CheckType.COMBINED, address, 80, 3, 1, service=service, connects=connects)


def played(check: Check, *outcomes: Outcome) -> list[str]:
    """The probes whose turn it was, one more than there are outcomes."""
    rhythm = Rhythm(check)
    names = []
    for outcome in outcomes:
        names.append(rhythm.next)
        rhythm.heard(rhythm.next, outcome)
    return [*names, rhythm.next]


def test_a_negotiation_then_so_many_connects():
    assert played(combined(2), *[GOOD] * 6) == [
        *("http", "connect", "connect"),
        *("http", "connect", "connect"),
        "http",
    ]


def test_a_bad_connect_makes_the_next_a_negotiation():
    assert played(combined(9), GOOD, GOOD, BAD) == ["http", "connect", "connect", "http"]


def test_a_bad_negotiation_is_repeated_until_it_is_good():
    names = played(combined(3), BAD, BAD, GOOD)
    assert names == ["http", "http", "http", "connect"]


def test_zero_connects_is_always_a_negotiation():
    assert set(played(combined(0), GOOD, BAD, GOOD, GOOD)) == {"http"}


def test_without_a_service_there_are_only_connects():
    assert set(played(combined(2, "none"), GOOD, BAD, GOOD, GOOD, GOOD)) == {"connect"}


def test_what_was_not_tried_changes_no_turn():
    assert played(combined(1), UNTRIED, GOOD, UNTRIED, GOOD) == [
        *("http", "http", "connect", "connect"),
        "http",
    ]


def test_other_checks_have_one_probe():
    check = Check(CheckType.PING, IPv4Address("10.0.0.2"), 80, 3, 1)
    assert played(check, GOOD, BAD, GOOD) == ["ping"] * 4


def real_program(connects: int, healths: list[bool]) -> list[str]:
    """Spec ldirectord §4: a counter that starts at 999999, and is set to it by a bad connect."""
    counter, names = 999999, []
    for healthy in healths:
        negotiates = counter >= connects
        names.append("http" if negotiates else "connect")
        after_bad, after_good = (counter, 0) if negotiates else (999999, counter + 1)
        counter = after_good if healthy else after_bad
    return names


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=40))
def test_the_turns_are_those_of_the_real_program(connects, healths):
    outcomes = [GOOD if healthy else BAD for healthy in healths]
    assert played(combined(connects), *outcomes)[:-1] == real_program(connects, healths)
