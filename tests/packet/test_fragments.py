"""Later fragments have no ports: they follow the first one. tc only; xdp leaves them to it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scapy.layers.inet import IP, fragment

from onevip.model import ForwardingMethod, Protocol
from packet.wire import (
    CLIENT,
    DROPPED,
    GATE,
    IPIP,
    MASQ,
    METHODS,
    REAL,
    VIP,
    Director,
    eth,
    eth_back,
    forwarded,
    ip4,
    left_alone,
    udp,
)

DATA = bytes(range(256)) * 8


def pieces(datagram: Any) -> list[Any]:
    """Three fragments."""
    found: list[Any] = fragment(IP(bytes(datagram)), fragsize=800)
    assert len(found) == 3
    return found


def request(dst: str = VIP, ttl: int = 64, port: int = 80, ident: int = 77) -> list[Any]:
    return pieces(ip4(CLIENT, dst, ttl=ttl, id=ident) / udp(5000, port) / DATA)


def start(director: Director, method: ForwardingMethod) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, method, port=8080 if method == MASQ else 80)


def test_gate_sends_every_fragment(tc: Director) -> None:
    start(tc, GATE)
    with tc.counted(new_connections=1, gate=3):
        for sent, expected in zip(request(), request(ttl=63), strict=True):
            assert tc(eth() / sent) == forwarded(tc.onward(REAL) / expected)
    assert tc.counters().in_bytes == sum(len(piece) for piece in request())


def test_masq_rewrites_what_each_fragment_has(tc: Director) -> None:
    """The checksum is in the first one, and covers them all."""
    start(tc, MASQ)
    for sent, expected in zip(request(), request(REAL, 63, 8080), strict=True):
        assert tc(eth() / sent) == forwarded(tc.onward(REAL) / expected)


def test_masq_does_the_same_with_replies(tc: Director) -> None:
    start(tc, MASQ)
    tc(eth() / ip4(CLIENT, VIP) / udp(5000, 80))
    sent = pieces(ip4(REAL, CLIENT, ttl=64, id=9) / udp(8080, 5000) / DATA)
    wanted = pieces(ip4(VIP, CLIENT, ttl=63, id=9) / udp(80, 5000) / DATA)
    with tc.counted(replies=3):
        for piece, expected in zip(sent, wanted, strict=True):
            assert tc(eth_back() / piece) == forwarded(tc.onward(CLIENT) / expected)


def test_ipip_wraps_each_fragment_whole(tc: Director) -> None:
    start(tc, IPIP)
    for sent, expected in zip(request(), request(ttl=63), strict=True):
        out = tc(eth() / sent).packet
        assert (out[IP].dst, out[IP].flags, out[IP].frag) == (REAL, 0, 0)
        assert bytes(out[IP].payload) == bytes(expected)


def test_two_datagrams_do_not_mix(tc: Director) -> None:
    tc.add_service(protocol=Protocol.UDP)
    start_of_one, _, rest_of_one = request(ident=1)
    start_of_other, _, rest_of_other = pieces(ip4(CLIENT, VIP, ttl=64, id=2) / udp(6000, 80) / DATA)
    for number in (10, 11):
        tc.add(f"10.1.0.{number}", MASQ)
    tc(eth() / start_of_one)
    tc(eth() / start_of_other)
    assert tc(eth() / rest_of_one).packet[IP].dst == "10.1.0.11"
    assert tc(eth() / rest_of_other).packet[IP].dst == "10.1.0.10"


def test_a_fragment_that_overtakes_its_first_is_not_ours(tc: Director) -> None:
    start(tc, GATE)
    _, late, last = request()
    assert tc(eth() / late) == left_alone(eth() / late)
    assert tc(eth() / last) == left_alone(eth() / last)


@pytest.mark.parametrize("method", METHODS)
def test_xdp_leaves_all_of_them_alone(xdp: Director, method: ForwardingMethod) -> None:
    start(xdp, method)
    with xdp.counted():
        for piece in request():
            assert xdp(eth() / piece) == left_alone(eth() / piece)
    assert xdp.connections() == 0


def test_a_later_fragment_at_its_last_hop_is_not_answered(tc: Director) -> None:
    """RFC 1122 3.2.2: no ICMP error about a fragment that is not the first."""
    start(tc, GATE)
    first, *later = request(ttl=1)
    assert tc(eth() / first).packet[IP].src == VIP
    for piece in later:
        assert tc(eth() / piece) == DROPPED


def test_an_id_that_is_used_again_is_another_datagram(tc: Director) -> None:
    """There are only 65536 of them. This one is for somebody else on this machine."""
    start(tc, GATE)
    for piece in request(ident=9):
        tc(eth() / piece)
    with tc.counted():
        for piece in request(ident=9, port=9999):
            assert tc(eth() / piece) == left_alone(eth() / piece)


def test_a_first_fragment_is_forgotten_after_a_while(tc: Director) -> None:
    """After half a minute, as the kernel does: net.ipv4.ipfrag_time."""
    start(tc, GATE)
    first, late, last = request()
    tc(eth() / first)
    assert tc(eth() / late).name == "forwarded"
    unit_s = tc.clock_unit_s
    tc.plane.settings.set(0, "hz", 1)  # half a minute is no clock unit now
    time.sleep(2 * unit_s)
    assert tc(eth() / last) == left_alone(eth() / last)
