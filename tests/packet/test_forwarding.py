"""What a forwarded packet looks like: gate, masq and ipip, requests and replies."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.l2 import Ether

from onevip.model import AddService, ForwardingMethod, Protocol, ServiceKey
from packet.network import ip, real_mac
from packet.wire import (
    CLIENT,
    GATE,
    IPIP,
    MASQ,
    METHODS,
    OTHER_REAL,
    PROTOCOLS,
    REAL,
    VIP,
    Director,
    eth,
    eth_back,
    forwarded,
    ip4,
    left_alone,
    recomputed,
    tcp,
    udp,
)

DIRECTOR = "10.1.0.1"
# The same fixture serves every example: each takes a client port of its own.
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# gate


def test_gate_changes_only_the_mac_and_the_ttl(director: Director) -> None:
    director.add_service()
    director.add(REAL, GATE)
    sent = eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S") / b"data"
    assert director(sent) == forwarded(
        director.onward(REAL) / ip4(CLIENT, VIP, ttl=63) / tcp(40000, 80, "S") / b"data"
    )


def test_gate_sends_to_the_real_server_itself(director: Director) -> None:
    director.add_service()
    director.add(REAL, GATE)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
    assert director.way(REAL) == (socket.if_nametoindex("back"), REAL)


def test_gate_carries_udp_without_looking_at_its_checksum(director: Director) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, GATE)
    wrong = udp(5000, 80, chksum=0x1234) / b"data"
    assert director(eth() / ip4(CLIENT, VIP, ttl=64) / wrong) == forwarded(
        director.onward(REAL) / ip4(CLIENT, VIP, ttl=63) / wrong
    )


@EXAMPLES
@given(ttl=st.integers(2, 255), tos=st.integers(0, 255), ident=st.integers(0, 0xFFFF))
def test_the_header_checksum_fits_every_ttl(
    director: Director, ttl: int, tos: int, ident: int
) -> None:
    director.forget()
    director.add_service()
    director.add(REAL, GATE)
    sent = ip4(CLIENT, VIP, ttl=ttl, tos=tos, id=ident) / tcp(40000, 80, "S")
    lower = ip4(CLIENT, VIP, ttl=ttl - 1, tos=tos, id=ident) / tcp(40000, 80, "S")
    assert director(eth() / sent) == forwarded(director.onward(REAL) / lower)


def test_the_header_checksum_carries(director: Director) -> None:
    """One hop less adds 0x0100 to it: from 0xffxx that wraps around (RFC 1624)."""
    director.add_service()
    director.add(REAL, GATE)
    others = 0xFFFF - IP(bytes(ip4(CLIENT, VIP, ttl=64, id=0) / tcp(40000, 80, "S"))).chksum
    for checksum in (0xFEFF, 0xFF00, 0xFF01, 0xFFFE, 0x0000, 0x0001):
        ident = (0xFFFF - checksum - others) % 0xFFFF
        sent = eth() / ip4(CLIENT, VIP, ttl=64, id=ident) / tcp(40000, 80, "S")
        assert IP(bytes(sent.payload)).chksum == checksum
        assert director(sent) == forwarded(
            director.onward(REAL) / ip4(CLIENT, VIP, ttl=63, id=ident) / tcp(40000, 80, "S")
        )


# masq


def test_masq_sends_a_request_to_the_real_servers_address_and_port(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ, port=8080)
    sent = eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S", seq=7) / b"data"
    assert director(sent) == forwarded(
        director.onward(REAL) / ip4(CLIENT, REAL, ttl=63) / tcp(40000, 8080, "S", seq=7) / b"data"
    )


def test_masq_lets_a_reply_come_from_the_vip(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ, port=8080)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
    reply = eth_back() / ip4(REAL, CLIENT, ttl=64) / tcp(8080, 40000, "SA", seq=9) / b"data"
    with director.counted(replies=1):
        assert director(reply) == forwarded(
            director.onward(CLIENT)
            / ip4(VIP, CLIENT, ttl=63)
            / tcp(80, 40000, "SA", seq=9)
            / b"data"
        )


def test_a_connection_by_gate_to_the_same_server_does_not_take_the_reply(
    director: Director,
) -> None:
    """A client may use one port towards two services."""
    director.add_service()
    director.add(REAL, GATE)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
    director.service = ServiceKey(Protocol.TCP, IPv4Address(VIP), 81)
    director.apply(AddService(director.service, "rr"))
    director.add(REAL, MASQ)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 81, "S"))
    reply = eth_back() / ip4(REAL, CLIENT, ttl=64) / tcp(80, 40000, "SA")
    assert director(reply) == forwarded(
        director.onward(CLIENT) / ip4(VIP, CLIENT, ttl=63) / tcp(81, 40000, "SA")
    )


def test_masq_does_the_same_for_udp(director: Director) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, MASQ, port=53)
    request = eth() / ip4(CLIENT, VIP, ttl=64) / udp(5000, 80) / b"question"
    reply = eth_back() / ip4(REAL, CLIENT, ttl=64) / udp(53, 5000) / b"answer"
    assert director(request) == forwarded(
        director.onward(REAL) / ip4(CLIENT, REAL, ttl=63) / udp(5000, 53) / b"question"
    )
    assert director(reply) == forwarded(
        director.onward(CLIENT) / ip4(VIP, CLIENT, ttl=63) / udp(80, 5000) / b"answer"
    )


@pytest.mark.parametrize("payload", [b"", b"x", b"even", bytes(1400)])
@pytest.mark.parametrize("port", [80, 8080])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_masq_keeps_checksums_right(
    director: Director, protocol: Protocol, port: int, payload: bytes
) -> None:
    director.add_service(protocol=protocol)
    director.add(REAL, MASQ, port=port)
    layer = tcp if protocol == Protocol.TCP else udp
    for packet in (
        eth() / ip4(CLIENT, VIP) / layer(40000, 80) / payload,
        eth_back() / ip4(REAL, CLIENT) / layer(port, 40000) / payload,
    ):
        if protocol == Protocol.TCP:
            packet[TCP].flags = "S"
        out = director(packet)
        assert out.name == "forwarded"
        assert out.is_sound


@EXAMPLES
@given(payload=st.binary(max_size=64), client_port=st.integers(1024, 65535), data=st.data())
def test_masq_keeps_a_wrong_checksum_as_wrong_as_it_was(
    director: Director, payload: bytes, client_port: int, data: st.DataObject
) -> None:
    """RFC 1624: the update is a difference; a damaged packet must not become a good one."""
    director.forget()
    director.add_service()
    director.add(REAL, MASQ, port=8080)
    damage = data.draw(st.integers(1, 0xFFFE))
    good = Ether(bytes(eth() / ip4(CLIENT, VIP) / tcp(client_port, 80, "S") / payload))
    good[TCP].chksum = (good[TCP].chksum + damage) % 0xFFFF
    out = director(good).packet
    assert (out[TCP].chksum - recomputed(out)[TCP].chksum - damage) % 0xFFFF == 0


def test_udp_without_a_checksum_stays_without(director: Director) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, MASQ, port=53)
    request = eth() / ip4(CLIENT, VIP) / udp(5000, 80, chksum=0) / b"data"
    reply = eth_back() / ip4(REAL, CLIENT) / udp(53, 5000, chksum=0) / b"data"
    assert director(request).packet[UDP].chksum == 0
    assert director(reply).packet[UDP].chksum == 0


def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_ffff(director: Director) -> None:
    """RFC 768: zero would say that there is none."""
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, MASQ, port=53)
    wanted = IP(bytes(ip4(CLIENT, REAL) / udp(5000, 53) / b"\0\0"))
    # a payload word that makes everything sum to ffff, whose complement is 0
    payload = wanted[UDP].chksum.to_bytes(2)
    sent = eth() / ip4(CLIENT, VIP) / udp(5000, 80) / payload
    out = director(sent).packet
    assert (out[IP].dst, out[UDP].dport, bytes(out[UDP].payload)) == (REAL, 53, payload)
    assert out[UDP].chksum == 0xFFFF


# ipip

INNER = [
    pytest.param({}, id="plain"),
    pytest.param({"flags": "DF"}, id="DF"),
    pytest.param({"tos": 0xB8}, id="DSCP"),
    pytest.param({"ttl": 2}, id="TTL 2"),
    pytest.param({"ttl": 255}, id="TTL 255"),
]


@pytest.mark.parametrize("fields", INNER)
def test_ipip_puts_the_packet_behind_an_outer_header(
    director: Director, fields: dict[str, Any]
) -> None:
    director.add_service()
    director.add(REAL, IPIP)
    fields = {"ttl": 64} | fields
    out = director(eth() / ip4(CLIENT, VIP, **fields) / tcp(40000, 80, "S") / b"data")
    lower = fields | {"ttl": fields["ttl"] - 1}
    inner = ip4(CLIENT, VIP, **lower) / tcp(40000, 80, "S") / b"data"
    outer = ip4(DIRECTOR, REAL, proto=4, id=out.packet[IP].id, **lower)
    assert out == forwarded(director.onward(REAL) / outer / inner)
    assert out.packet[IP].len == len(inner) + 20


@pytest.mark.parametrize(
    ("inner", "outer"),
    [(0xB8, 0xB8), (0xB9, 0xB9), (0xBA, 0xBA), (0xBB, 0xBA), (0x03, 0x02)],
    ids=["not ECT", "ECT(1)", "ECT(0)", "CE becomes ECT(0)", "CE without DSCP"],
)
def test_ipip_copies_tos_but_marks_congestion_once(
    director: Director, inner: int, outer: int
) -> None:
    director.add_service()
    director.add(REAL, IPIP)
    out = director(eth() / ip4(CLIENT, VIP, tos=inner) / tcp(40000, 80, "S")).packet
    assert (out[IP].tos, out[IP].payload.tos) == (outer, inner)


def test_ipip_numbers_only_what_may_be_fragmented(director: Director) -> None:
    """RFC 6864: with DF the identification says nothing."""
    director.add_service()
    director.add(REAL, IPIP)

    def idents(flags: str) -> set[int]:
        sent = eth() / ip4(CLIENT, VIP, flags=flags) / tcp(40000, 80, "S")
        return {director(sent).packet[IP].id for _ in range(8)}

    assert idents("DF") == {0}
    assert len(idents("")) > 1


def test_ipip_carries_udp(director: Director) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, IPIP)
    out = director(eth() / ip4(CLIENT, VIP, ttl=64) / udp(5000, 80) / b"data")
    inner = ip4(CLIENT, VIP, ttl=63) / udp(5000, 80) / b"data"
    outer = ip4(DIRECTOR, REAL, ttl=63, proto=4, id=out.packet[IP].id)
    assert out == forwarded(director.onward(REAL) / outer / inner)


# What may stand around the headers.

OPTIONS = [IPOption_RR(length=11, pointer=4, routers=["0.0.0.0"] * 2), IPOption_NOP()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ip_options_travel_along(
    director: Director, protocol: Protocol, method: ForwardingMethod
) -> None:
    director.add_service(protocol=protocol)
    director.add(REAL, method)
    body = tcp(40000, 80, "S") if protocol == Protocol.TCP else udp(40000, 80)
    sent = eth() / ip4(CLIENT, VIP, ttl=64, options=OPTIONS) / body / b"data"
    out = director(sent)
    assert out.name == "forwarded"
    assert out.is_sound
    inner = out.packet[IP].payload if method == IPIP else out.packet[IP]
    destination = REAL if method == MASQ else VIP
    expected = ip4(CLIENT, destination, ttl=63, options=OPTIONS) / body / b"data"
    assert bytes(inner) == bytes(expected)


def test_masq_replies_with_ip_options(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ, port=8080)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
    reply = eth_back() / ip4(REAL, CLIENT, ttl=64, options=OPTIONS) / tcp(8080, 40000, "SA")
    assert director(reply) == forwarded(
        director.onward(CLIENT) / ip4(VIP, CLIENT, ttl=63, options=OPTIONS) / tcp(80, 40000, "SA")
    )


@pytest.mark.parametrize("method", METHODS)
def test_padding_of_a_short_frame_is_no_part_of_the_packet(
    director: Director, method: ForwardingMethod
) -> None:
    director.add_service()
    director.add(REAL, method)
    padding = b"\xee" * 6
    sent = bytes(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S")) + padding
    assert len(sent) == 60
    out = director(sent)
    assert out.frame.endswith(padding)
    without = forwarded(out.frame.removesuffix(padding))
    assert without.is_sound
    assert without.packet[IP].len == (60 if method == IPIP else 40)
    assert director.counters().in_bytes == 40


# The way there.


def test_traffic_follows_a_real_server_whose_mac_changes(xdp: Director) -> None:
    """With no daemon: the program itself looks again. (tc leaves MACs to the kernel.)"""
    xdp.add_service()
    xdp.add(REAL, GATE)
    xdp.plane.settings.set(0, "hop_lifetime", 0)  # look each time
    syn = eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S")

    def sent_to() -> str:
        """In one second of eight, a packet that looks goes to tc, for the neighbour's sake."""
        deadline = time.monotonic() + 5
        while (verdict := xdp(syn)).name == "left alone" and time.monotonic() < deadline:
            time.sleep(0.05)
        return str(verdict.packet.dst)

    assert sent_to() == real_mac(10)
    ip(f"neigh replace {REAL} lladdr 02:00:00:00:00:99 dev back nud permanent\n")
    try:
        assert sent_to() == "02:00:00:00:00:99"
    finally:
        ip(f"neigh replace {REAL} lladdr {real_mac(10)} dev back nud permanent\n")


def test_traffic_follows_a_changed_route(director: Director) -> None:
    director.add_service()
    director.add(REAL, GATE)
    director.plane.settings.set(0, "hop_lifetime", 0)
    syn = eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S")
    director(syn)
    assert director.way(REAL) == (socket.if_nametoindex("back"), REAL)
    ip(f"route add {REAL}/32 via {OTHER_REAL}\n")
    try:
        director(syn)
        assert director.way(REAL) == (socket.if_nametoindex("back"), OTHER_REAL)
    finally:
        ip(f"route delete {REAL}/32\n")


def test_no_route_to_the_real_server_ends_the_packet(director: Director) -> None:
    director.add_service()
    director.add("10.2.0.10", GATE)
    ip("route delete default\n")
    try:
        with director.counted(new_connections=1, no_route=1):
            assert director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S")).name == "dropped"
    finally:
        ip("route add default via 10.0.0.1\n")


def test_xdp_leaves_an_unknown_neighbour_to_tc(xdp: Director, tc: Director) -> None:
    xdp.add_service()
    xdp.add("10.1.250.1", GATE)  # no neighbour entry
    syn = eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S")
    assert xdp(syn) == left_alone(syn)
    with xdp.counted(handed_over=1):
        assert xdp(syn) == left_alone(syn)
    assert xdp.counters("10.1.250.1").in_packets == 0
    assert tc(syn).packet[IP].ttl == 63
    assert xdp.counters("10.1.250.1").in_packets == 1
    assert xdp.connections() == 1


def test_a_masq_reply_is_routed_as_what_the_vip_sends(xdp: Director) -> None:
    """As with snat_reroute=1: a director with two uplinks routes by its own address."""
    other_router = "02:00:00:00:00:03"
    with policy_routing(
        "rule add from 10.0.0.100 lookup 100",
        "route add default via 10.0.0.3 table 100",
        f"neigh add 10.0.0.3 lladdr {other_router} dev front nud permanent",
    ):
        xdp.add_service()
        xdp.add(REAL, MASQ)
        xdp(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
        reply = xdp(eth_back() / ip4(REAL, CLIENT) / tcp(80, 40000, "SA"))
    assert reply.packet.dst == other_router


@contextmanager
def policy_routing(*added: str) -> Iterator[None]:
    ip("\n".join(added) + "\n")
    try:
        yield
    finally:
        ip("".join(line.replace(" add ", " del ", 1) + "\n" for line in reversed(added)))
