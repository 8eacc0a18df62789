"""What the reference makes of single packets: whose they are, states, times, what is refused.

Numbers in brackets are rows of spec ipvs §12.2.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from onevip.model import (
    AddService,
    ForwardingMethod,
    Protocol,
    ServiceKey,
    ServiceOptions,
    TableError,
    Timeouts,
    UnknownScheduler,
    UnknownTunable,
)
from onevip.reference import Decision, Director, Packet, Verdict
from scene import CALLS, CLIENT, DNS, GATE, IPIP, MASQ, OTHER, REAL, VIP, WEB, Scene

INIT, INIT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, COOKIE_ECHO, COOKIE_ACK = 1, 2, 6, 7, 8, 10, 11
SHUTDOWN_COMPLETE = 14


@pytest.fixture
def scene() -> Scene:
    return Scene()


# TCP.


@pytest.mark.parametrize("method", [GATE, IPIP])
def test_a_syn_alone_is_active_for_a_minute(scene: Scene, method: ForwardingMethod) -> None:
    """(1)"""
    scene.serve()
    scene.add(method=method)
    decision = scene.client("S")
    assert decision.verdict is Verdict.REQUEST
    assert (decision.real_server, decision.method) == (scene.listed()[0].real_server, method)
    assert scene.state() == ("SYN_RECV", 60)
    assert scene.counts() == (1, 0)
    scene.wait(59.9)
    assert scene.counts() == (1, 0)
    scene.wait(0.1)
    assert scene.counts() == (0, 0)
    assert scene.listed() == []


def test_a_client_that_closes_alone(scene: Scene) -> None:
    """(2)"""
    scene.serve()
    scene.add(method=GATE)
    scene.establish()
    assert scene.state() == ("ESTABLISHED", 900)
    scene.client("FA")
    assert scene.state() == ("FIN_WAIT", 120)
    assert scene.counts() == (0, 1)


def test_both_sides_close_by_masq(scene: Scene) -> None:
    """(3)"""
    scene.serve()
    scene.add()
    scene.client("S")
    assert scene.server("SA").verdict is Verdict.REPLY
    scene.client("A")
    scene.client("FA")
    assert scene.state() == ("CLOSE_WAIT", 60)
    scene.server("FA")
    scene.client("A")
    assert scene.state() == ("TIME_WAIT", 120)
    assert scene.counts() == (0, 1)


def test_a_reset_closes(scene: Scene) -> None:
    """(4)"""
    scene.serve()
    scene.add()
    scene.establish()
    scene.client("R")
    assert scene.state() == ("CLOSE", 10)


@pytest.mark.parametrize(
    ("flags", "state"), [("RSFA", "CLOSE"), ("SFA", "ESTABLISHED"), ("FA", "CLOSE_WAIT")]
)
def test_of_several_flags_one_counts(scene: Scene, flags: str, state: str) -> None:
    """RST before SYN before FIN before ACK."""
    scene.serve()
    scene.add()
    scene.establish()
    scene.client(flags)
    assert scene.state()[0] == state


def test_a_packet_without_any_flag_closes(scene: Scene) -> None:
    scene.serve()
    scene.add()
    scene.establish()
    scene.client("PU")
    assert scene.state() == ("CLOSE", 10)


def test_a_reply_comes_from_the_vip(scene: Scene) -> None:
    scene.serve()
    scene.add(port=8080)
    asked = scene.client("S")
    assert asked.real_port == 8080
    answered = scene.server("SA", from_port=8080)
    assert (answered.verdict, answered.real_port) == (Verdict.REPLY, 80)
    assert answered.real_server == asked.real_server
    assert answered.connection == scene.listed()[0]


def test_by_gate_the_port_stays(scene: Scene) -> None:
    scene.serve(ServiceKey.of_mark(7))
    scene.add(method=GATE, port=8080)
    decision = scene.client("S", to=443, mark=7, protocol=Protocol.TCP)
    assert decision.real_port == 443
    assert scene.listed()[0].real_port == 8080


@pytest.mark.parametrize("flags", ["A", "FA", "R", "SR", ""])
def test_what_opens_nothing_is_left_to_the_host(scene: Scene, flags: str) -> None:
    """(5)"""
    scene.serve()
    scene.add()
    assert scene.client(flags) == Decision(Verdict.ACCEPT)
    assert scene.listed() == []


@pytest.mark.parametrize(("flags", "opens"), [("A", True), ("FA", True), ("", True), ("RA", False)])
def test_sloppy_tcp_opens_with_all_but_a_reset(scene: Scene, flags: str, opens: bool) -> None:
    scene.serve()
    scene.add()
    scene.tune("sloppy_tcp", 1)
    assert (scene.client(flags).verdict is Verdict.REQUEST) == opens


def test_a_syn_ack_opens_too(scene: Scene) -> None:
    scene.serve()
    scene.add()
    assert scene.client("SA").verdict is Verdict.REQUEST


def test_nobody_there_is_refused(scene: Scene) -> None:
    """(6)"""
    scene.serve()
    assert scene.client("S") == Decision(Verdict.REFUSE)
    scene.add(weight=0)
    assert scene.client("S") == Decision(Verdict.REFUSE)
    assert scene.counters(None).connections == 0


@pytest.mark.parametrize(
    "elsewhere", [{"to": 81}, {"vip": IPv4Address("192.0.2.1")}, {"protocol": Protocol.UDP}]
)
def test_what_no_service_names_is_left_to_the_host(
    scene: Scene, elsewhere: dict[str, object]
) -> None:
    scene.serve()
    scene.add()
    assert scene.got("S", **elsewhere) is None
    assert scene.client("S", **elsewhere).verdict is Verdict.ACCEPT  # type: ignore[arg-type]


def test_what_comes_from_the_ftp_data_port_is_never_scheduled(scene: Scene) -> None:
    scene.serve()
    scene.add()
    assert scene.client("S", port=20).verdict is Verdict.ACCEPT


def test_secure_tcp_waits_for_the_server(scene: Scene) -> None:
    scene.serve()
    scene.add()
    scene.tune("secure_tcp", 2)
    scene.establish()
    assert scene.state() == ("SYN_RECV", 60)
    scene.server("SA")
    assert scene.state() == ("SYNACK", 120)
    scene.tune("secure_tcp", 1)
    scene.client("A")
    assert scene.state() == ("ESTABLISHED", 900)


# A client's port used again (§1.4).


@pytest.mark.parametrize(
    ("mode", "last", "method", "moves"),
    [
        (0, ["FA", "S"], GATE, False),
        (1, ["FA", "S"], GATE, False),  # (17)
        (2, ["FA", "S"], GATE, True),
        (3, ["FA", "S"], GATE, True),
        (2, ["FA", "S"], MASQ, False),  # CLOSE_WAIT
        (0, ["R", "S"], GATE, False),
        (1, ["R", "S"], GATE, True),
        (2, ["R", "S"], MASQ, True),
        (1, ["S"], GATE, False),
    ],
)
def test_when_a_syn_begins_anew(
    scene: Scene, mode: int, last: list[str], method: ForwardingMethod, moves: bool
) -> None:
    scene.serve()
    scene.add(REAL, method)
    scene.add(OTHER, method)
    scene.tune("conn_reuse_mode", mode)
    assert scene.establish() == OTHER
    for flags in last:
        got = scene.got(flags)
    assert got == (REAL if moves else OTHER)
    assert len(scene.listed()) == 1
    assert scene.counters(None).connections == 1 + moves


def test_a_server_that_ends_first_leaves_no_half_seen_connection(scene: Scene) -> None:
    """FIN_WAIT by masq is no reason: the director has heard the server."""
    scene.serve()
    scene.add(OTHER)
    scene.add(REAL)
    scene.tune("conn_reuse_mode", 3)
    scene.establish()
    scene.server("FA")
    assert scene.state() == ("FIN_WAIT", 120)
    assert scene.got("S") == REAL


def test_a_reset_that_says_syn_ends_what_was_over_and_opens_nothing(scene: Scene) -> None:
    scene.serve()
    scene.add()
    scene.establish()
    scene.client("R")
    assert scene.client("SR").verdict is Verdict.ACCEPT
    assert scene.listed() == []


# UDP, one packet at a time, SCTP.


def test_udp_is_never_active_and_lives_by_either_side(scene: Scene) -> None:
    """(7)"""
    scene.serve(DNS)
    scene.add()
    scene.client()
    assert (scene.state(), scene.counts()) == (("UDP", 300), (0, 1))
    scene.wait(200)
    scene.server()
    scene.wait(200)
    assert scene.state() == ("UDP", 100)
    scene.client()
    assert scene.state() == ("UDP", 300)
    assert scene.counters().connections == 1


def test_one_packet_scheduling(scene: Scene) -> None:
    """(18)"""
    scene.serve(DNS, options=ServiceOptions(one_packet=True))
    scene.add(REAL)
    scene.add(OTHER)
    got = [scene.got() for _ in range(10)]
    assert (got.count(REAL), got.count(OTHER)) == (5, 5)
    assert scene.listed() == []
    assert scene.counts() == (0, 0)
    assert (scene.counters(None).connections, scene.counters(None).in_packets) == (10, 10)
    assert scene.server().verdict is Verdict.ACCEPT  # leaves as it came
    assert scene.client().connection is None


def test_one_packet_scheduling_is_for_udp_only(scene: Scene) -> None:
    scene.serve(ServiceKey.of_mark(3), options=ServiceOptions(one_packet=True))
    scene.add(REAL)
    for _ in range(2):
        assert scene.client("S", to=80, mark=3, protocol=Protocol.TCP).connection
    assert len(scene.listed()) == 1


def test_sctp_by_masq(scene: Scene) -> None:
    scene.serve(CALLS)
    scene.add()
    for send, chunk, state, active in (
        (scene.client, INIT, ("INIT1", 4), 0),
        (scene.server, INIT_ACK, ("C-SENT", 61), 0),
        (scene.client, COOKIE_ECHO, ("C-REPLIED", 61), 0),
        (scene.server, COOKIE_ACK, ("ESTABLISHED", 900), 1),
        (scene.client, 3, ("ESTABLISHED", 900), 1),  # SACK: data
        (scene.client, 64, ("ESTABLISHED", 900), 1),  # unknown: data
        (scene.client, SHUTDOWN, ("S-RECEIVED", 61), 0),
        (scene.client, ABORT, ("CLOSED", 61), 0),
    ):
        send((chunk,))
        assert scene.state() == state
        assert scene.counts() == (active, 1 - active)


def test_sctp_by_gate(scene: Scene) -> None:
    scene.serve(CALLS)
    scene.add(method=GATE)
    states = []
    for chunk in (INIT, COOKIE_ECHO, SHUTDOWN, SHUTDOWN_COMPLETE):
        scene.client((chunk,))
        states.append(scene.state()[0])
    assert states == ["INIT1", "ESTABLISHED", "S-RECEIVED", "CLOSED"]


@pytest.mark.parametrize(
    ("chunks", "state"),
    [
        ((COOKIE_ECHO, ABORT), "CLOSED"),
        ((COOKIE_ECHO, 0, ABORT), "ESTABLISHED"),
        ((0, ABORT), "INIT1"),
    ],
)
def test_an_abort_behind_a_cookie_counts(scene: Scene, chunks: tuple[int, ...], state: str) -> None:
    scene.serve(CALLS)
    scene.add(method=GATE)
    scene.client((INIT,))
    scene.client(chunks)
    assert scene.state()[0] == state


def test_what_opens_an_sctp_connection(scene: Scene) -> None:
    scene.serve(CALLS)
    scene.add()
    assert scene.client((0,)).verdict is Verdict.ACCEPT
    assert scene.client(()).verdict is Verdict.DROP
    scene.tune("sloppy_sctp", 1)
    assert scene.client((ABORT,)).verdict is Verdict.ACCEPT
    assert scene.client((0,)).verdict is Verdict.REQUEST
    assert scene.state() == ("ESTABLISHED", 900)


def test_an_init_on_a_closed_connection_begins_anew(scene: Scene) -> None:
    scene.serve(CALLS)
    scene.add(REAL)
    scene.add(OTHER)
    assert scene.got((INIT,)) == OTHER
    assert scene.got((INIT,)) == OTHER
    scene.client((ABORT,))
    assert scene.got((INIT,)) == REAL


# Which service (§1.3).


def test_a_mark_comes_before_an_address(scene: Scene) -> None:
    scene.serve()
    scene.add(REAL)
    scene.serve(ServiceKey.of_mark(7))
    scene.add(OTHER)
    assert scene.got("S", to=80, mark=7, protocol=Protocol.TCP) == OTHER
    assert scene.got("S", 40001, to=80, mark=8, protocol=Protocol.TCP) == REAL
    assert scene.got("S", 40002, to=80, protocol=Protocol.TCP) == REAL


def test_a_mark_is_of_one_family(scene: Scene) -> None:
    scene.serve(ServiceKey.of_mark(7, 6))
    scene.add(IPv6Address("2001:db8:1::10"))
    assert scene.got("S", to=80, mark=7, protocol=Protocol.TCP) is None
    six = {"by": IPv6Address("2001:db8::7"), "vip": IPv6Address("2001:db8::100")}
    got = scene.got("S", to=80, mark=7, protocol=Protocol.TCP, **six)
    assert got == IPv6Address("2001:db8:1::10")


def test_every_port_is_for_persistent_services(scene: Scene) -> None:
    scene.serve(ServiceKey(Protocol.TCP, VIP, 0))
    scene.add()
    assert scene.client("S", to=80).verdict is Verdict.REFUSE


def test_ports_that_ftp_may_mean_are_left_to_the_host(scene: Scene) -> None:
    scene.serve(ServiceKey(Protocol.TCP, VIP, 21))
    scene.add()
    assert scene.client("S").verdict is Verdict.REQUEST
    assert scene.client("S", 40001, to=20).verdict is Verdict.ACCEPT
    assert scene.client("S", 40001, to=5000).verdict is Verdict.ACCEPT
    assert scene.client("S", 40001, to=80).verdict is Verdict.ACCEPT
    scene.edit(weight=0)
    assert scene.client("S", 40001).verdict is Verdict.REFUSE


def test_a_real_server_that_is_this_machine_is_heard(scene: Scene) -> None:
    """By gate its replies come from the VIP, and from then on both sides count (§1.8)."""
    scene.serve()
    scene.add(method=GATE)
    scene.establish()
    assert scene.server("SA", by=VIP).verdict is Verdict.REPLY
    scene.client("FA")
    assert scene.state() == ("CLOSE_WAIT", 60)


def test_other_protocols_are_left_to_the_host(scene: Scene) -> None:
    scene.serve(ServiceKey.of_mark(7))
    scene.add()
    assert scene.client(to=0, mark=7, protocol=Protocol.IP).verdict is Verdict.ACCEPT


# Time.


def test_set_acts_on_old_connections_at_once(scene: Scene) -> None:
    scene.serve()
    scene.add()
    scene.establish()
    scene.wait(50)
    scene.director.set_timeouts(Timeouts(tcp_s=100))
    assert scene.state() == ("ESTABLISHED", 50)
    scene.wait(49.9)
    assert scene.counts() == (1, 0)
    scene.wait(0.1)
    assert scene.counts() == (0, 0)


def test_a_longer_time_is_given_to_old_connections_too(scene: Scene) -> None:
    scene.serve(DNS)
    scene.add()
    scene.client()
    scene.director.set_timeouts(Timeouts(udp_s=1000))
    scene.wait(999)
    assert scene.state() == ("UDP", 1)
    scene.wait(1)
    assert scene.listed() == []


def test_the_clock_does_not_go_back() -> None:
    director = Director()
    packet = Packet(CLIENT, 1, VIP, 80, Protocol.TCP, "S")
    director.receive(packet, 5.0)
    with pytest.raises(ValueError, match=r"clock goes back from 5\.0 to 4\.0"):
        director.receive(packet, 4.0)


# What does not fit.


def test_a_change_that_does_not_fit_leaves_what_was_done_before(scene: Scene) -> None:
    scene.serve()
    with pytest.raises(TableError):
        scene.apply(AddService(DNS, "rr"), AddService(WEB, "rr"), AddService(CALLS, "rr"))
    assert set(scene.director.table().services) == {WEB, DNS}
    with pytest.raises(UnknownScheduler, match="no scheduler best"):
        scene.apply(AddService(CALLS, "best"))
    with pytest.raises(UnknownTunable):
        scene.tune("sloppy_udp", 1)
