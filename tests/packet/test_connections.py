"""Connections over time: expiry, port reuse, and what changes of the table do to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP

from onevip.engines.bpf.shapes import TcpState
from onevip.model import Clear, DeleteService, ForwardingMethod, Protocol
from packet.wire import (
    CLIENT,
    DROPPED,
    GATE,
    IPIP,
    MASQ,
    METHODS,
    OTHER_REAL,
    REAL,
    VIP,
    Connection,
    Director,
    eth,
    eth_back,
    forwarded,
    ip4,
    left_alone,
    tcp,
    udp,
)


def syn(port: int = 40000) -> Any:
    return eth() / ip4(CLIENT, VIP, ttl=64) / tcp(port, 80, "S")


def from_client(flags: str, port: int = 40000) -> Any:
    return eth() / ip4(CLIENT, VIP, ttl=64) / tcp(port, 80, flags)


def from_real(flags: str, real: str = REAL, port: int = 40000) -> Any:
    return eth_back(real) / ip4(real, CLIENT, ttl=64) / tcp(80, port, flags)


def known(director: Director, port: int = 40000) -> Connection:
    connection = director.connection(port)
    assert connection is not None
    return connection


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# Expiry, with no daemon.

TIMEOUTS_S = {
    "TCP_NONE": 2, "TCP_ESTABLISHED": 900, "TCP_SYN_SENT": 120, "TCP_SYN_RECV": 60,
    "TCP_FIN_WAIT": 120, "TCP_TIME_WAIT": 120, "TCP_CLOSE": 10, "TCP_CLOSE_WAIT": 60,
    "TCP_LAST_ACK": 30, "TCP_LISTEN": 120, "TCP_SYNACK": 120,
}  # fmt: skip


def test_the_timeouts_are_the_kernels(tc: Director) -> None:
    settings = tc.plane.settings
    unit_s = tc.clock_unit_s
    stored = settings.get_many(0, "tcp_timeout")
    for name, seconds in TIMEOUTS_S.items():
        assert abs(stored[TcpState[name]] * unit_s - seconds) <= unit_s
    assert abs(settings.get(0, "udp_timeout") * unit_s - 300) <= unit_s


def test_idle_connections_end_by_themselves(tc: Director) -> None:
    tc.add_service()
    for number, method in enumerate((GATE, MASQ, IPIP)):
        tc.add(f"10.1.0.{10 + number}", method)
    for port in range(40000, 40006):
        tc(syn(port))
    for port in range(40000, 40003):
        tc(from_client("FA", port))
    assert {(active, inactive) for _, active, inactive in tc.rows().values()} == {(1, 1)}
    tc.set_timeouts(1)
    assert within(5, lambda: tc.connections() == 0)
    assert {(active, inactive) for _, active, inactive in tc.rows().values()} == {(0, 0)}
    assert tc.counters(None).connections == 6
    ack = from_client("A", 40003)
    assert tc(ack) == left_alone(ack)


def test_an_idle_flow_of_datagrams_ends_by_itself(tc: Director) -> None:
    tc.add_service(protocol=Protocol.UDP)
    tc.add(REAL, GATE)
    tc(eth() / ip4(CLIENT, VIP) / udp(5000, 80))
    assert tc.active_inactive() == (0, 1)
    tc.plane.settings.set(0, "udp_timeout", 1)
    assert within(5, lambda: tc.active_inactive() == (0, 0))
    assert tc.connections() == 0


def test_the_sweeper_tells_what_it_costs(tc: Director) -> None:
    tc.add_service()
    report = tc.plane.report

    def told(field: str) -> int:
        return report.get(0, field)

    report.set(0, "longest_ns", 0)
    ticks, spent_ns = told("ticks"), told("spent_ns")
    assert within(5, lambda: told("ticks") >= ticks + 20)
    mean_ns = (told("spent_ns") - spent_ns) / (told("ticks") - ticks)
    assert 100 < mean_ns <= told("longest_ns"), "64 buckets a tick: more than nothing"
    assert told("longest_ns") < 1e9


def test_each_state_has_its_own_timeout(tc: Director) -> None:
    """Only CLOSE's is short now: the others stay."""
    tc.add_service()
    tc.add(REAL, GATE)
    for port in (40000, 40001, 40002):
        tc(syn(port))
    tc(from_client("A", 40001))
    tc(from_client("A", 40002))
    tc(from_client("R", 40002))
    timeouts = list(tc.plane.settings.get_many(0, "tcp_timeout"))
    timeouts[TcpState.TCP_CLOSE] = 1
    tc.plane.settings.set_many(0, "tcp_timeout", tuple(timeouts))
    assert within(5, lambda: tc.connections() == 2)
    assert tc.connection(40002) is None
    assert tc.active_inactive() == (2, 0)


def test_packets_of_either_side_keep_a_connection(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ)
    for port in (40000, 40001, 40002):
        director(syn(port))
    unit_s = director.clock_unit_s
    director.set_timeouts(max(3, round(1 / unit_s)))

    def the_third_is_gone() -> bool:
        director(from_client("A", 40000))
        director(from_real("A", REAL, 40001))
        return director.connection(40002) is None

    assert within(6, the_third_is_gone)
    assert director.active_inactive() == (2, 0)


# A client uses its port again (spec ipvs §1.4).


def lead_to(director: Director, state: str) -> None:
    """A connection of masq in this state."""
    director(syn())
    ways = {
        "TCP_TIME_WAIT": [from_client("FA")],
        "TCP_CLOSE": [from_real("R")],
        "TCP_FIN_WAIT": [from_client("A"), from_real("FA")],
        "TCP_CLOSE_WAIT": [from_client("A"), from_client("FA")],
    }
    for packet in ways[state]:
        director(packet)
    assert known(director).state == TcpState[state]


@pytest.mark.parametrize("state", ["TCP_TIME_WAIT", "TCP_CLOSE"])
def test_a_syn_on_a_connection_that_is_over_is_scheduled_anew(
    director: Director, state: str
) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, MASQ)
    director.add(REAL, MASQ)  # the head of the list: first
    lead_to(director, state)
    assert director.active_inactive(REAL) == (0, 1)
    with director.counted(new_connections=1, masq=1):
        assert director(syn()).packet[IP].dst == OTHER_REAL
    assert (known(director).real, known(director).state) == (OTHER_REAL, TcpState.TCP_SYN_RECV)
    assert director.rows() == {REAL: [1, 0, 0], OTHER_REAL: [1, 1, 0]}
    assert director.connections() == 1


@pytest.mark.parametrize("state", ["TCP_FIN_WAIT", "TCP_CLOSE_WAIT"])
def test_a_syn_on_a_connection_that_is_closing_stays_with_its_server(
    director: Director, state: str
) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, MASQ)
    director.add(REAL, MASQ)
    lead_to(director, state)
    with director.counted(masq=1):
        assert director(syn()).packet[IP].dst == REAL
    assert known(director).state == TcpState.TCP_SYN_RECV
    assert director.rows() == {REAL: [1, 1, 0], OTHER_REAL: [1, 0, 0]}


@pytest.mark.parametrize("method", [GATE, IPIP], ids=["gate", "ipip"])
def test_a_syn_on_fin_wait_without_replies_stays_with_its_server(
    director: Director, method: ForwardingMethod
) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, method)
    director.add(REAL, method)
    for flags in ("S", "A", "FA"):
        director(from_client(flags))
    assert known(director).state == TcpState.TCP_FIN_WAIT
    director(syn())
    assert (known(director).real, known(director).state) == (REAL, TcpState.TCP_SYN_RECV)
    assert director.rows() == {REAL: [1, 1, 0], OTHER_REAL: [1, 0, 0]}


def test_a_syn_on_a_connection_that_is_over_finds_nobody(tc: Director) -> None:
    """The old connection is gone all the same."""
    tc.add_service()
    tc.add(REAL, MASQ)
    lead_to(tc, "TCP_TIME_WAIT")
    tc.edit(REAL, MASQ, weight=0)
    with tc.counted(no_real_server=1):
        tc(syn())
    assert tc.connections() == 0
    assert tc.active_inactive() == (0, 0)


# A real server is deleted and comes back (spec ipvs §5.6).


@pytest.mark.parametrize("method", METHODS)
def test_packets_to_a_deleted_real_server_vanish_until_it_is_back(
    director: Director, method: ForwardingMethod
) -> None:
    director.add_service()
    director.add(REAL, method)
    director.add(OTHER_REAL, method, weight=0)
    director(syn())
    director(from_client("A"))
    before = director.totals()
    director.delete(REAL)
    with director.counted(real_server_gone=2):
        assert director(from_client("A")) == DROPPED
        assert director(from_client("PA")) == DROPPED
    director.add(REAL, method)
    assert director.totals() == before
    assert director(from_client("A")).name == "forwarded"
    assert director.counters().in_packets == before.in_packets + 1
    assert director.active_inactive() == (1, 0)


def test_a_packet_that_vanishes_does_not_move_its_connection(director: Director) -> None:
    """State and timer stay as they were when the real server went (spec ipvs §1.2, row 6)."""
    director.add_service()
    director.add(REAL, GATE)
    director(syn())
    director(from_client("A"))
    director.delete(REAL)
    before = known(director)
    unit_s = director.clock_unit_s
    time.sleep(2 * unit_s)
    for flags in ("A", "FA", "R"):
        assert director(from_client(flags)) == DROPPED
    assert known(director) == before


def test_a_deleted_real_server_gets_no_new_connections(director: Director) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, GATE)
    director.add(REAL, GATE)
    director.delete(REAL)
    for port in range(40000, 40006):
        director(syn(port))
    assert director.rows() == {OTHER_REAL: [1, 6, 0]}


def test_a_connection_of_a_deleted_real_server_ends_in_time(tc: Director) -> None:
    """Also while its client goes on sending."""
    tc.add_service()
    tc.add(REAL, GATE)
    tc(syn())
    tc.delete(REAL)
    tc.set_timeouts(3)

    def it_is_gone() -> bool:
        tc(from_client("A"))
        return tc.connections() == 0

    assert within(5, it_is_gone)
    tc.add(REAL, GATE)
    assert tc.active_inactive() == (0, 0)


@pytest.mark.parametrize("how", ["deleting the service", "clearing the table"])
def test_connections_survive_a_table_that_is_built_again(director: Director, how: str) -> None:
    director.add_service()
    director.add(REAL, MASQ)
    director(syn())
    director.apply(Clear() if how.startswith("clear") else DeleteService(director.service))
    assert director(from_client("A")) == DROPPED
    director.add_service()
    director.add(REAL, MASQ)
    assert director.active_inactive() == (1, 0)
    assert director(from_client("A")).packet[IP].dst == REAL


def test_the_same_real_server_of_another_service_counts_for_itself(director: Director) -> None:
    director.add_service()
    director.add(REAL, GATE)
    director(syn())
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, GATE)
    assert director.active_inactive() == (0, 0)
    director(eth() / ip4(CLIENT, VIP) / udp(40000, 80))
    assert director.active_inactive() == (0, 1)


# Weight 0, other methods, other schedulers.


@pytest.mark.parametrize("method", METHODS)
def test_a_quiescent_real_server_keeps_its_connections(
    director: Director, method: ForwardingMethod
) -> None:
    director.add_service()
    director.add(OTHER_REAL, method)
    director.add(REAL, method)
    director(syn(40000))
    director.edit(REAL, method, weight=0)
    for port in (40001, 40002):
        director(syn(port))
    with director.counted(**{method.name.lower(): 1}):
        director(from_client("A", 40000))
    assert known(director, 40000).real == REAL
    assert director.rows() == {REAL: [0, 1, 0], OTHER_REAL: [1, 2, 0]}


def test_a_connection_keeps_the_method_that_it_began_with(director: Director) -> None:
    director.add_service()
    director.add(REAL, GATE)
    director(syn(40000))
    director.edit(REAL, MASQ)
    assert director(from_client("A", 40000)) == forwarded(
        director.onward(REAL) / ip4(CLIENT, VIP, ttl=63) / tcp(40000, 80, "A")
    )
    assert director(syn(40001)).packet[IP].dst == REAL
    director.edit(REAL, IPIP)
    assert director(from_client("A", 40000)).packet[IP].dst == VIP
    masqueraded = director(from_client("A", 40001)).packet[IP]
    assert (masqueraded.dst, masqueraded.proto) == (REAL, 6)
    assert director(syn(40002)).packet[IP].proto == 4


def test_another_scheduler_does_not_touch_connections(director: Director) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, GATE)
    director.add(REAL, GATE)
    director(syn(40000))
    director.schedule_by("wlc")
    assert director.rows() == {REAL: [1, 1, 0], OTHER_REAL: [1, 0, 0]}
    director(from_client("A", 40000))
    assert known(director, 40000).real == REAL


# Totals (spec ipvs §7).


def test_totals_count_ip_packets_without_the_ethernet_header(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ)
    director(syn())
    director(from_real("SA") / b"")
    director(from_client("PA") / bytes(100))
    director(from_real("PA") / bytes(1000))
    counters = director.counters()
    assert (counters.connections, counters.in_packets, counters.out_packets) == (1, 2, 2)
    assert (counters.in_bytes, counters.out_bytes) == (40 + 140, 40 + 1040)


def test_gate_and_ipip_see_no_replies(director: Director) -> None:
    director.add_service()
    director.add(REAL, IPIP)
    director(syn())
    counters = director.counters()
    assert (counters.in_packets, counters.in_bytes) == (1, 40)
    assert (counters.out_packets, counters.out_bytes) == (0, 0)


def test_the_same_syn_again_opens_nothing(director: Director) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, GATE)
    director.add(REAL, GATE)
    with director.counted(new_connections=1, gate=3):
        for _ in range(3):
            director(syn())
    assert director.rows() == {REAL: [1, 1, 0], OTHER_REAL: [1, 0, 0]}
    assert director.counters().connections == 1


def test_many_clients_each_have_their_own(director: Director) -> None:
    director.add_service("rr")
    director.add(OTHER_REAL, GATE)
    director.add(REAL, GATE)
    ports = range(20000, 20600)
    for port in ports:
        director(syn(port))
    assert director.connections() == len(ports)
    assert director.rows() == {REAL: [1, 300, 0], OTHER_REAL: [1, 300, 0]}
    with director.counted(gate=len(ports)):
        for port in ports:
            director(from_client("A", port))


def test_a_real_server_may_be_a_client(director: Director) -> None:
    """It is searched for as a request and as a reply; the connection lies where requests look."""
    director.add_service("rr")
    director.add(OTHER_REAL, MASQ)
    director.add(REAL, MASQ)
    to_vip = eth_back(REAL) / ip4(REAL, VIP, ttl=64)
    with director.counted(new_connections=1, masq=3):
        for flags in ("S", "A", "PA"):
            director(to_vip / tcp(40000, 80, flags))
    assert director.connections() == 1
