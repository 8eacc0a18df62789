"""What becomes of connections and counts when the table changes (spec ipvs §5.5, §5.6, §7).

Numbers in brackets are rows of spec ipvs §12.2.
"""

from __future__ import annotations

import pytest

from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    DeleteService,
    EditService,
    RealServer,
    ServiceOptions,
    Zero,
)
from onevip.reference import Decision, Verdict
from scene import DNS, GATE, MASQ, OTHER, REAL, THIRD, WEB, Scene


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.serve()
    return scene


# A deleted real server.


def test_packets_of_a_deleted_server_vanish_until_it_is_back(scene: Scene) -> None:
    """(8)"""
    scene.add()
    scene.establish()
    before = scene.counters()
    scene.delete()
    scene.wait(100)
    assert scene.client("A") == Decision(Verdict.DROP)
    assert scene.client("FA") == Decision(Verdict.DROP)
    assert scene.state() == ("ESTABLISHED", 800)
    assert scene.client("S", 40001).verdict is Verdict.REFUSE
    scene.add()
    assert scene.counters() == before
    assert scene.got("A") == REAL
    assert scene.counters().in_packets == before.in_packets + 1


def test_a_deleted_server_may_finish_speaking_uncounted(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.delete()
    assert scene.server("FA").verdict is Verdict.REPLY
    assert scene.state() == ("FIN_WAIT", 120)
    scene.add()
    assert scene.counters().out_packets == 0
    assert scene.counts() == (0, 1)


def test_counts_survive_a_table_that_is_built_anew(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.apply(Clear())
    assert scene.director.counters() == {}
    scene.serve()
    scene.add()
    assert scene.counts() == (1, 0)
    assert scene.counters().connections == 1
    assert scene.counters(None).connections == 0  # the service is another one
    scene.client("A")
    assert (scene.counters().in_packets, scene.counters(None).in_packets) == (3, 1)


def test_a_deleted_server_without_connections_is_forgotten(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.client("R")
    scene.wait(10)
    scene.delete()
    scene.wait(119)
    scene.add()
    assert scene.counters().connections == 1
    scene.delete()
    scene.wait(181)
    scene.add()
    assert scene.counters().connections == 0


def test_a_deleted_server_waits_for_its_last_connection(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.delete()
    scene.wait(899 + 119)
    scene.add()
    assert scene.counters().connections == 1
    assert scene.counts() == (0, 0)


def test_the_same_server_of_another_service_is_another_one(scene: Scene) -> None:
    scene.add(port=80)
    scene.establish()
    scene.delete()
    scene.serve(DNS)
    scene.apply(AddRealServer(DNS, RealServer(REAL, 80, MASQ)))
    found = scene.director.counters()
    assert all(counters.connections == 0 for key, counters in found.items() if key[0] == DNS)


def test_expire_nodest_conn_ends_them_at_once(scene: Scene) -> None:
    """(9)"""
    scene.tune("expire_nodest_conn", 1)
    scene.add(REAL)
    scene.add(OTHER)
    assert scene.establish() == OTHER
    scene.delete(OTHER)
    assert scene.listed() == []
    assert scene.client("A").verdict is Verdict.ACCEPT
    assert scene.got("S") == REAL


def test_expire_nodest_conn_that_is_set_later_ends_them_when_they_speak(scene: Scene) -> None:
    scene.add(REAL)
    scene.add(OTHER)
    scene.establish()
    scene.delete(OTHER)
    scene.tune("expire_nodest_conn", 1)
    assert len(scene.listed()) == 1
    assert scene.client("A").verdict is Verdict.ACCEPT
    assert scene.listed() == []


@pytest.mark.parametrize("end", [DeleteService(WEB), Clear()])
def test_expire_nodest_conn_sweeps_templates_too(end: DeleteService | Clear) -> None:
    scene = Scene()
    scene.serve(options=ServiceOptions(persistent_s=300))
    scene.tune("expire_nodest_conn", 1)
    scene.add()
    scene.establish()
    scene.apply(end)
    assert scene.director.connections() == []
    scene.serve()
    scene.add()
    assert scene.counters().persistent == 0
    assert scene.counts() == (0, 0)


# Weight and method.


def test_a_quiescent_server_keeps_its_connections(scene: Scene) -> None:
    scene.add(REAL)
    scene.establish()
    scene.edit(REAL, weight=0)
    assert scene.got("A") == REAL
    assert scene.got("S") == REAL  # the same port again: the same connection
    scene.client("R")
    assert scene.client("S", 40001).verdict is Verdict.REFUSE


def test_with_expire_nodest_conn_a_syn_leaves_a_quiescent_server(scene: Scene) -> None:
    scene.add(REAL)
    scene.add(OTHER)
    assert scene.establish() == OTHER
    scene.edit(OTHER, weight=0)
    scene.tune("expire_nodest_conn", 1)
    assert scene.got("A") == OTHER
    assert scene.got("S") == REAL
    assert scene.counts(OTHER) == (0, 0)


def test_connections_keep_the_method_that_they_began_with(scene: Scene) -> None:
    scene.add(method=MASQ)
    scene.establish()
    scene.edit(method=GATE)
    assert scene.client("A").method is MASQ
    assert scene.server("A").verdict is Verdict.REPLY
    assert scene.client("S", 40001).method is GATE
    assert scene.director.table().get(WEB).real_servers[0].method is GATE  # type: ignore[union-attr]


def test_another_scheduler_begins_anew_and_the_same_goes_on(scene: Scene) -> None:
    for address in (REAL, OTHER, THIRD):
        scene.add(address)
    assert scene.got("S", 1) == THIRD
    scene.apply(EditService(WEB, "rr"))
    assert scene.got("S", 2) == OTHER
    scene.apply(EditService(WEB, "none"))
    assert scene.client("S", 3).verdict is Verdict.REFUSE
    scene.apply(EditService(WEB, "rr"))
    assert scene.got("S", 4) == THIRD


# Thresholds.


def test_an_upper_threshold_admits_so_many(scene: Scene) -> None:
    """(11)"""
    scene.add(upper=2)
    scene.establish(1)
    scene.establish(2)
    assert scene.client("S", 3).verdict is Verdict.REFUSE
    assert scene.got("A", 1) == REAL
    scene.client("R", 1)
    scene.wait(10)  # one left: 4 · 1 < 3 · 2
    assert scene.got("S", 3) == REAL


def test_overload_ends_below_three_quarters(scene: Scene) -> None:
    scene.add(upper=4)
    for port in range(4):
        scene.establish(port)
    scene.client("R", 0)
    scene.wait(10)
    assert scene.client("S", 5).verdict is Verdict.REFUSE  # 4 · 3 = 3 · 4
    scene.client("R", 1)
    scene.wait(10)
    assert scene.got("S", 5) == REAL


def test_overload_ends_below_the_lower_threshold(scene: Scene) -> None:
    scene.add(upper=3, lower=1)
    for port in range(3):
        scene.establish(port)
    for port in range(3):
        assert scene.client("S", 9).verdict is Verdict.REFUSE
        scene.client("R", port)
        scene.wait(10)
    assert scene.got("S", 9) == REAL


def test_edits_of_a_threshold(scene: Scene) -> None:
    scene.add(upper=1)
    scene.establish(1)
    assert scene.client("S", 2).verdict is Verdict.REFUSE
    scene.edit(upper=1)
    assert scene.client("S", 2).verdict is Verdict.REFUSE
    scene.edit(upper=3)  # raised: free at once
    assert scene.got("S", 2) == REAL
    scene.edit(upper=1)  # lowered: with the next connection
    assert scene.got("S", 3) == REAL
    assert scene.client("S", 4).verdict is Verdict.REFUSE
    scene.edit(upper=0)
    assert scene.got("S", 4) == REAL


# Statistics.


def test_what_is_counted(scene: Scene) -> None:
    scene.add(REAL)
    scene.add(OTHER)
    assert scene.got("S", length=60) == OTHER
    scene.server("SA", by=OTHER, length=52)
    scene.client("A", length=1500)
    scene.client("S", 40001, length=60)
    found = scene.counters(OTHER)
    assert (found.connections, found.in_packets, found.out_packets) == (1, 2, 1)
    assert (found.in_bytes, found.out_bytes) == (1560, 52)
    whole = scene.counters(None)
    assert (whole.connections, whole.in_packets, whole.in_bytes) == (2, 3, 1620)
    assert (whole.active, whole.inactive) == (2, 0)


def test_a_service_remembers_what_left_it(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.delete()
    assert scene.counters(None).connections == 1
    assert scene.counts(None) == (0, 0)


def test_zero_clears_totals_and_rates_but_no_gauge(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.wait(4)
    assert scene.counters().in_packets_rate == 0  # 2 packets in 2 s: a quarter of 1
    for port in range(100, 200):
        scene.client("S", port)
    scene.wait(2)
    assert scene.counters().connections_rate > 0
    scene.apply(Zero(WEB))
    found = scene.counters()
    assert (found.active, found.connections, found.connections_rate) == (101, 0, 0)
    for port in range(200, 208):
        scene.client("S", port)
    scene.apply(Zero(WEB))
    assert scene.counters().connections_rate == 0
    scene.wait(2)
    assert scene.counters().connections_rate == 1  # 8 in two seconds, a quarter of 4
    assert scene.counters().connections == 0
    assert scene.counters(None).in_packets == 0
    scene.client("A")
    assert (scene.counters().in_packets, scene.counters(None).in_packets) == (1, 1)


def test_zero_of_one_service_leaves_others(scene: Scene) -> None:
    scene.add()
    scene.establish()
    scene.apply(AddService(DNS, "rr"), Zero(DNS))
    assert scene.counters().connections == 1
    scene.apply(Zero())
    assert scene.counters().connections == 0


def test_rates_come_near_the_truth(scene: Scene) -> None:
    """(23) 100 connections a second for 20 s: 1 - 0.75^10 of it."""
    scene.add()
    for number in range(2000):
        scene.client("S", 1000 + number, length=60)
        scene.wait(1 / 128)
        if number % 100 == 99:
            scene.wait(28 / 128)  # so that 20 s are 20 s, without rounding
    found = scene.counters()
    assert found.connections_rate == 94
    assert found.in_packets_rate == found.connections_rate
    assert found.in_bytes_rate == pytest.approx(60 * 94.4, rel=0.02)
    assert found.out_packets_rate == found.out_bytes_rate == 0
    scene.wait(60)
    assert scene.counters().connections_rate == 0


def test_rates_of_a_constant_stream_in_the_kernels_fixed_point(scene: Scene) -> None:
    """10 packets of 100 bytes in each two seconds: 5 · 2^10 and 500 · 2^5, a quarter at a time."""
    scene.serve(DNS)
    scene.add()
    packets, rates = [0, 0], []
    for _ in range(4):
        for _ in range(10):
            scene.client(length=100)
        scene.wait(2)
        packets = [old + (new - old >> 2) for old, new in zip(packets, (5120, 16000), strict=True)]
        rates.append((scene.counters().in_packets_rate, scene.counters().in_bytes_rate))
        assert rates[-1] == (packets[0] + 511 >> 10, packets[1] + 15 >> 5)
    assert rates == [(1, 125), (2, 219), (3, 289), (3, 342)]


@pytest.mark.parametrize(("packets", "rate"), [(4, 0), (5, 1)])
def test_a_half_is_rounded_down(scene: Scene, packets: int, rate: int) -> None:
    """4 in two seconds, a quarter of 2: 0.5."""
    scene.serve(DNS)
    scene.add()
    for _ in range(packets):
        scene.client()
    scene.wait(2)
    assert scene.counters().in_packets_rate == rate


def test_rates_stand_still_without_estimation(scene: Scene) -> None:
    scene.add()
    for port in range(100):
        scene.client("S", port)
    scene.wait(2)
    before = scene.counters().connections_rate
    scene.tune("run_estimation", 0)
    scene.wait(20)
    assert scene.counters().connections_rate == before > 0
