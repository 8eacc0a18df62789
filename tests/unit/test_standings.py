"""Who is up: what is told of fallbacks, and what keeps a fallback server out of the table."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onevip.config import parse
from onevip.daemon.events import FallbackTurned
from onevip.model import RealServer, ServiceKey
from unit.test_daemon_director import CF, GOOD, REFUSED, WEB, Desk

ONE, TWO = "10.20.0.11", "10.20.0.12"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "run")


def turns(desk: Desk, key: ServiceKey = WEB) -> list[bool]:
    return [e.on for e in desk.events if isinstance(e, FallbackTurned) and e.service.key == key]


def test_nothing_is_told_while_a_server_may_still_be_up(desk):
    desk.start()
    desk.hear(ONE, REFUSED)
    assert turns(desk) == []
    desk.hear(TWO, REFUSED)
    assert turns(desk) == [True]


def test_the_first_server_that_is_up_is_told_and_then_only_turns_are(desk):
    desk.start()
    desk.hear(ONE, GOOD)
    desk.hear(TWO, GOOD)
    assert turns(desk) == [False]
    desk.hear(ONE, REFUSED)
    assert turns(desk) == [False]
    desk.hear(TWO, REFUSED)
    desk.hear(TWO, GOOD)
    assert turns(desk) == [False, True, False]


def test_services_that_know_at_once_tell_at_once(desk):
    text = CF + "    checktype=off\n\nvirtual=10.20.0.100:25\n    real=10.20.0.11:25 gate\n"
    text += "    checktype=on\n\nvirtual=10.20.0.100:26\n    service=none\n    scheduler=rr\n"
    desk.start(text)
    assert turns(desk) == [True]
    assert turns(desk, replace(WEB, port=25)) == [False]
    assert turns(desk, replace(WEB, port=26)) == [True]  # nobody is ever up


def test_a_reload_with_other_checks_tells_nothing_until_their_verdicts_differ(desk):
    desk.start()
    desk.hear(ONE, GOOD)
    desk.use("checktimeout=9\n" + CF)
    assert turns(desk) == [False]
    desk.hear(ONE, GOOD)
    desk.hear(TWO, REFUSED)
    assert turns(desk) == [False]
    desk.use("checktimeout=8\n" + CF)
    for address in (ONE, TWO):
        desk.hear(address, REFUSED)
    assert turns(desk) == [False, True]


def test_a_service_that_left_and_came_back_is_new(desk):
    desk.start()
    desk.hear(ONE, GOOD)
    desk.use("# nothing\n")
    desk.use(CF)
    desk.hear(ONE, GOOD)
    assert turns(desk) == [False, False]


def test_it_is_told_also_when_the_table_cannot_follow(desk):
    desk.start()
    desk.hear(ONE, GOOD)
    desk.hear(TWO, REFUSED)
    desk.engine.refusal = RuntimeError("planted")
    desk.hear(ONE, REFUSED)
    assert turns(desk) == [False, True]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.booleans()), max_size=12))
def test_each_turn_is_told_once_and_is_one(tmp_path_factory, story):
    desk = Desk(tmp_path_factory.mktemp("run")).start()
    up: dict[str, bool] = {}
    expected: list[bool] = []
    for address, good in story:
        up[address] = good
        desk.hear(address, GOOD if good else REFUSED)
        is_known = len(up) == 2 or any(up.values())
        on = not any(up.values())
        if is_known and expected[-1:] != [on]:
            expected.append(on)
    assert turns(desk) == expected


# The fallback server in the table.


def test_it_is_deleted_never_quiesced_when_a_server_comes_up(desk):
    desk.start()
    assert desk.weights()["127.0.0.1"] == 1
    desk.hear(ONE, GOOD)
    assert "127.0.0.1" not in desk.weights()


def test_it_does_not_flap_while_verdicts_come_in_at_a_start(desk):
    desk.start()
    for address in (ONE, TWO):
        desk.hear(address, REFUSED)
    fallback = [c for c in desk.engine.applied if "127.0.0.1" in str(c)]
    assert len(fallback) == 1


def test_a_fallback_that_is_a_real_server_too_has_its_own_weight_when_another_is_up(desk):
    text = CF.replace("fallback=127.0.0.1:80 gate", "fallback=10.20.0.12:80 gate")
    desk.start(text)
    for address in (ONE, TWO):
        desk.hear(address, GOOD)
    desk.hear(TWO, REFUSED)
    assert desk.weights() == {ONE: 2, TWO: 0}
    desk.hear(ONE, REFUSED)
    assert desk.weights() == {ONE: 0, TWO: 1}
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 0}
    desk.hear(TWO, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_a_hand_that_takes_the_last_weight_gets_no_fallback_for_it(desk):
    desk.start()
    desk.hear(ONE, GOOD)
    desk.edit(ONE, weight=0)
    desk.hear(TWO, REFUSED)
    assert desk.weights() == {ONE: 0, TWO: 0}


# Rows are a service's own.


def test_one_server_in_two_services_stands_in_each_by_its_own_check(desk):
    """ldirectord knows it by address and port only, and loses it in all services but one."""
    second = "\nvirtual=10.20.0.101:80\n    real=10.20.0.11:80 gate 9\n    checktype=off\n"
    desk.start(CF + second)
    desk.director.converge()
    other = replace(WEB, address=IPv4Address("10.20.0.101"))
    assert desk.weights(other) == {ONE: 0}
    (check,) = (c for c in desk.checks.states if str(c.address) == ONE and c.probes)
    before = desk.checks.states[check]
    from onevip.health import Probed, step

    after = desk.checks.states[check] = step(before, GOOD, 1)
    desk.director.heard(Probed(check, "http", GOOD, before, after))
    desk.director.converge()
    assert (desk.weights()[ONE], desk.weights(other)[ONE]) == (2, 0)


def test_of_two_lines_of_one_server_in_a_service_the_last_one_counts(desk):
    plain = parse(CF, "lb.cf")
    (service,) = plain.services
    one, two = service.real_servers
    again = replace(
        two,
        real=replace(two.real, address=one.real.address, weight=5),
        check=replace(two.check, address=one.check.address, request="/other"),
    )
    services = (replace(service, real_servers=(one, again)),)
    desk.start(services=services)
    assert [str(c.request) for c in desk.checks.states] == ["/other"]
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 5}


def test_thresholds_stay_while_a_server_is_quiescent(desk):
    plain = parse(CF, "lb.cf")
    (service,) = plain.services
    servers = tuple(
        replace(s, real=replace(s.real, upper_threshold=9)) for s in service.real_servers
    )
    desk.start(services=(replace(service, real_servers=servers),))
    desk.hear(ONE, GOOD)
    desk.hear(ONE, REFUSED)
    rows: tuple[RealServer, ...] = desk.engine.table.get(WEB).real_servers
    assert {row.upper_threshold for row in rows if str(row.address) in (ONE, TWO)} == {9}
