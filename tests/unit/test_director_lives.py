"""Random lives of one service: fallback server, maintenance and strangers, after each step."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onevip.daemon.events import Row
from onevip.model import Protocol, RealServer, RealServerKey, ServiceKey, Table, VirtualService
from unit.test_by_hand import ONE, TWO
from unit.test_daemon_director import CF, GOOD, REFUSED, WEB, Desk

STRANGER = VirtualService(
    ServiceKey(Protocol.UDP, ip_address("10.20.0.99"), 53),
    "rr",
    (RealServer(ip_address("10.20.0.98"), 53, weight=3),),
)
SERVERS = st.sampled_from([ONE, TWO])
steps = st.one_of(
    st.tuples(st.sampled_from(["good", "bad", "out", "in"]), SERVERS, st.just(0)),
    st.tuples(st.just("hand"), SERVERS, st.integers(0, 4)),
    st.tuples(st.just("reload"), st.just(""), st.just(0)),
)


def row(address: str) -> Row:
    return WEB, RealServerKey(ip_address(address), 80)


@pytest.mark.parametrize("text", ["quiescent=yes\n" + CF, "quiescent=no\n" + CF])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(steps, max_size=15))
def test_every_life_of_a_service(tmp_path_factory, text, story):
    desk = Desk(tmp_path_factory.mktemp("run"), table=Table.of([STRANGER])).start(text)
    fallback = str(desk.director.configuration.services[0].fallback.address)
    up: dict[str, bool] = {}
    resting: dict[Row, str] = {}
    hands: set[str] = set()
    for what, address, weight in story:
        if what in ("good", "bad"):
            up[address] = what == "good"
            desk.hear(address, GOOD if what == "good" else REFUSED)
        elif what == "out":
            resting[row(address)] = address
        elif what == "in":
            resting.pop(row(address), None)
        elif what == "hand" and address in desk.weights():
            desk.edit(address, weight=weight)
            hands.add(address)
        elif what == "reload":
            desk.use(text)
        desk.director.maintain(resting)
        assert desk.director.converge()

        assert desk.engine.table.get(STRANGER.key) == STRANGER
        weights = desk.weights()
        serving = {one for one in (ONE, TWO) if up.get(one) and row(one) not in resting}
        assert {one for one in (ONE, TWO) if weights.get(one)} - hands <= serving
        if serving:
            assert fallback not in weights
        elif not hands:
            assert fallback in weights
        done = len(desk.engine.applied)
        assert desk.director.converge()
        assert len(desk.engine.applied) == done
