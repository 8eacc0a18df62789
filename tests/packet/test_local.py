"""A real server that is the director itself: the packet goes up the stack, not out."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP

from onevip.engines.bpf.shapes import TcpState
from packet.wire import (
    CLIENT,
    DROPPED,
    GATE,
    IPIP,
    MASQ,
    REAL,
    VIP,
    Director,
    Verdict,
    eth,
    ip4,
    left_alone,
    tcp,
)

LOCALHOST, OWN = "127.0.0.1", "10.0.0.2"


def from_client(flags: str) -> Verdict:
    return left_alone(eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, flags))


@pytest.mark.parametrize("address", [LOCALHOST, OWN])
def test_gate_to_ourselves_changes_nothing_and_counts(tc: Director, address: str) -> None:
    tc.add_service()
    tc.add(address, GATE)
    with tc.counted(new_connections=1, local=2):
        for flags in ("S", "A"):
            assert tc(from_client(flags).frame) == from_client(flags)
    assert tc.active_inactive(address) == (1, 0)
    assert tc.counters(address).in_packets == 2


def test_replies_of_ourselves_are_seen_on_their_way_out(tc: Director) -> None:
    """From then on both sides move the state (spec ipvs §3.1: NOOUTPUT is cleared for good)."""
    tc.add_service()
    tc.add(LOCALHOST, GATE)
    tc(from_client("S").frame)
    reply = eth() / ip4(VIP, CLIENT) / tcp(80, 40000, "SA")
    with tc.counted(replies=1):
        assert tc.sends(reply) == left_alone(reply)
    counters = tc.counters(LOCALHOST)
    assert (counters.out_packets, counters.out_bytes) == (1, 40)
    for flags, state in (("A", "TCP_ESTABLISHED"), ("FA", "TCP_CLOSE_WAIT")):
        tc(from_client(flags).frame)
        connection = tc.connection()
        assert connection is not None
        assert connection.state == TcpState[state]
    tc.sends(eth() / ip4(VIP, CLIENT) / tcp(80, 40000, "FA"))
    connection = tc.connection()
    assert connection is not None
    assert connection.state == TcpState.TCP_TIME_WAIT
    assert tc.active_inactive(LOCALHOST) == (0, 1)


def test_masq_to_another_port_of_ourselves(tc: Director) -> None:
    """Not forwarded, so the TTL stays."""
    tc.add_service()
    tc.add(OWN, MASQ, port=8080)
    with tc.counted(new_connections=1, local=1):
        assert tc(eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S")) == left_alone(
            eth() / ip4(CLIENT, OWN, ttl=64) / tcp(40000, 8080, "S")
        )
    with tc.counted(replies=1):
        assert tc.sends(eth() / ip4(OWN, CLIENT, ttl=64) / tcp(8080, 40000, "SA")) == left_alone(
            eth() / ip4(VIP, CLIENT, ttl=64) / tcp(80, 40000, "SA")
        )


def test_masq_to_the_loopback_network_is_refused(tc: Director) -> None:
    """As in IPVS: nobody from outside reaches 127.0.0.0/8."""
    tc.add_service()
    tc.add(LOCALHOST, MASQ, port=8080)
    assert tc(from_client("S").frame) == DROPPED


def test_ipip_to_ourselves_is_as_gate(tc: Director) -> None:
    tc.add_service()
    tc.add(OWN, IPIP)
    assert tc(from_client("S").frame) == from_client("S")


def test_what_else_we_send_is_left_alone(tc: Director) -> None:
    tc.add_service()
    tc.add(LOCALHOST, GATE)
    tc(from_client("S").frame)
    for packet in (
        eth() / ip4(VIP, CLIENT) / tcp(80, 40001, "SA"),
        eth() / ip4(VIP, CLIENT) / tcp(81, 40000, "SA"),
        eth() / ip4(OWN, CLIENT) / tcp(80, 40000, "SA"),
    ):
        with tc.counted():
            assert tc.sends(packet) == left_alone(packet)


def test_xdp_leaves_our_own_to_tc(xdp: Director, tc: Director) -> None:
    xdp.add_service()
    tc.service = xdp.service
    xdp.add(OWN, MASQ, port=8080)
    xdp(from_client("S").frame)
    with xdp.counted(handed_over=1):
        assert xdp(from_client("A").frame) == from_client("A")
    assert tc(from_client("A").frame).packet[IP].dst == OWN


def test_binding_to_any_address_does_not_make_it_ours(tc: Director) -> None:
    """net.ipv4.ip_nonlocal_bind is 1 on many directors, for their VIPs."""
    setting = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")
    setting.write_text("1")
    try:
        tc.add_service()
        tc.add(REAL, GATE)
        tc.add(OWN, GATE)
        tc.add(LOCALHOST, GATE)
    finally:
        setting.write_text("0")
    reals = tc.plane.reals
    assert {tc._address(slot): reals.get(slot, "local") for slot in range(3)} == {
        REAL: 0,
        OWN: 1,
        LOCALHOST: 1,
    }
