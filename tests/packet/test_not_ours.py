"""What no service names goes on as it came; garbage is never sent anywhere."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

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
    icmp,
    ip4,
    left_alone,
    tcp,
    udp,
)

BROADCAST = "ff:ff:ff:ff:ff:ff"
GROUP = "01:00:5e:00:00:01"

SYN = tcp(40000, 80, "S")
NOT_OURS = {
    "a port without a service": eth() / ip4(CLIENT, VIP) / tcp(40000, 81, "S"),
    "an address without a service": eth() / ip4(CLIENT, "10.0.0.101") / SYN,
    "udp to a tcp service": eth() / ip4(CLIENT, VIP) / udp(40000, 80),
    "a ping of the VIP": eth() / ip4(CLIENT, VIP) / icmp(8, 0) / b"ping",
    "sctp": eth() / ip4(CLIENT, VIP, proto=132) / struct.pack(">HHII", 40000, 80, 0, 0),
    "arp": Ether(dst=BROADCAST, src=eth().src) / ARP(psrc=CLIENT, pdst=VIP),
    "IPv6": eth() / IPv6(src="2001:db8::1", dst="2001:db8::2") / SYN,
    "a VLAN tag": eth() / Dot1Q(vlan=7) / ip4(CLIENT, VIP) / SYN,
    "no IP at all": eth() / b"whatever this is, it is long enough to be a packet of something",
    "a broadcast frame": eth(to=BROADCAST) / ip4(CLIENT, VIP) / SYN,
    "a group's frame": eth(to=GROUP) / ip4(CLIENT, VIP) / SYN,
    "a frame for another machine": eth(to="02:00:00:00:00:99") / ip4(CLIENT, VIP) / SYN,
    "a later fragment": eth() / ip4(CLIENT, VIP, frag=100) / SYN,
    "a last fragment": eth() / ip4(CLIENT, VIP, frag=1, flags="MF") / SYN,
    "version 5": eth() / ip4(CLIENT, VIP, version=5) / SYN,
    "a header length under 20": eth() / ip4(CLIENT, VIP, ihl=4) / SYN,
    "a header longer than the packet": eth() / ip4(CLIENT, VIP, ihl=15) / SYN,
    "a total length that ends before the TCP header": eth() / ip4(CLIENT, VIP, len=32) / SYN,
    "a total length beyond the frame": eth() / ip4(CLIENT, VIP, len=400) / SYN,
    "a total length of 0": eth() / ip4(CLIENT, VIP, len=0) / SYN,
    "a SYN with RST": eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "SR"),
    "an ACK of no connection": eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "A"),
    "a FIN of no connection": eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "FA"),
    "a RST of no connection": eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "R"),
    "no flags and no connection": eth() / ip4(CLIENT, VIP) / tcp(40000, 80, ""),
    "a SYN from port 20, which is FTP's data": eth() / ip4(CLIENT, VIP) / tcp(20, 80, "S"),
    "a real server's own traffic": eth_back() / ip4(REAL, CLIENT) / tcp(8080, 40000, "A"),
}


@pytest.mark.parametrize("packet", NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_not_ours_goes_on_as_it_came(director: Director, packet: Any) -> None:
    director.add_service()
    director.add(REAL, MASQ, port=8080)
    with director.counted():
        assert director(packet) == left_alone(packet)
    assert director.connections() == 0


def test_a_datagram_from_port_20_is_not_ours_either(director: Director) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, GATE)
    sent = eth() / ip4(CLIENT, VIP) / udp(20, 80)
    assert director(sent) == left_alone(sent)


@pytest.mark.parametrize("method", METHODS)
def test_a_syn_ack_opens_a_connection(director: Director, method: ForwardingMethod) -> None:
    """As the first packet of an active FTP data connection does."""
    director.add_service()
    director.add(REAL, method)
    assert director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "SA")).name == "forwarded"
    assert director.connections() == 1


def test_a_frame_for_another_machine_is_not_ours(tc: Director) -> None:
    """A bridge or a promiscuous interface shows such frames; the xdp door cannot tell."""
    tc.add_service()
    tc.add(REAL, GATE)
    sent = eth(to="02:00:00:00:00:77") / ip4(CLIENT, VIP) / SYN
    assert tc(sent) == left_alone(sent)


def test_a_gate_reply_is_not_ours(director: Director) -> None:
    """It comes from the VIP, straight to the client; if it passes here, it passes."""
    director.add_service()
    director.add(REAL, GATE)
    director(eth() / ip4(CLIENT, VIP) / SYN)
    for reply in (
        eth_back() / ip4(VIP, CLIENT) / tcp(80, 40000, "SA"),
        eth_back() / ip4(REAL, CLIENT) / tcp(80, 40000, "SA"),
    ):
        assert director(reply) == left_alone(reply)


def test_xdp_leaves_a_first_fragment_to_tc(xdp: Director, tc: Director) -> None:
    xdp.add_service(protocol=Protocol.UDP)
    xdp.add(REAL, GATE)
    first = eth() / ip4(CLIENT, VIP, ttl=64, flags="MF") / udp(5000, 80, len=3000) / bytes(64)
    assert xdp(first) == left_alone(first)
    assert tc(first).packet[IP].ttl == 63


@pytest.mark.parametrize("packet", [SYN, udp(40000, 80)], ids=["tcp", "udp"])
def test_a_frame_that_ends_inside_its_headers_is_not_ours(director: Director, packet: Any) -> None:
    director.add_service(protocol=Protocol.TCP if TCP in packet else Protocol.UDP)
    director.add(REAL, GATE)
    whole = bytes(eth() / ip4(CLIENT, VIP) / packet)
    shortest = 34 if director.door == "tc" else 14  # TEST_RUN makes no skb of less
    for length in range(shortest, len(whole)):
        assert director(whole[:length]) == left_alone(whole[:length])
    assert director(whole).name == "forwarded"


# Garbage.

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def busy(director: Director) -> Director:
    """A director with a connection of each method, so that there is something to hit."""
    director.add_service("wlc")
    for number, method in enumerate((GATE, MASQ, IPIP)):
        director.add(f"10.1.0.{10 + number}", method)
    for port in (40000, 40001, 40002):
        director(eth() / ip4(CLIENT, VIP) / tcp(port, 80, "S"))
    return director


@FUZZ
@given(garbage=st.binary(min_size=20, max_size=200))
def test_random_bytes_are_never_ours(busy: Director, garbage: bytes) -> None:
    frame = bytes(eth()) + garbage
    assert busy(frame) == left_alone(frame)


def is_for_the_service(frame: bytes) -> bool:
    """Whether the kernel's IP would take this frame and IPVS find a service by it."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return False
    header, length = (frame[14] & 15) * 4, int.from_bytes(frame[16:18])
    return (
        header >= 20
        and header + 20 <= length <= len(frame) - 14
        and int.from_bytes(frame[20:22]) & 0x1FFF == 0
        and frame[23] == 6
        and frame[30:34] == bytes([10, 0, 0, 100])
        and int.from_bytes(frame[14 + header + 2 : 14 + header + 4]) == 80
    )


@FUZZ
@given(
    flags=st.sampled_from(["S", "A", "FA", "R", "PA"]),
    port=st.sampled_from([40000, 40001, 40002, 40003]),
    changes=st.lists(st.tuples(st.integers(12, 60), st.integers(0, 255)), max_size=4),
    length=st.integers(34, 120),
)
def test_a_damaged_packet_is_forwarded_only_if_it_still_names_the_service(
    busy: Director, flags: str, port: int, changes: list[tuple[int, int]], length: int
) -> None:
    frame = bytearray(bytes(eth() / ip4(CLIENT, VIP) / tcp(port, 80, flags) / bytes(60)))
    for at, value in changes:
        frame[at] = value
    sent = bytes(frame[:length])
    out = busy(sent)
    if not is_for_the_service(sent):
        assert out == left_alone(sent)
    assert out.name in ("forwarded", "left alone", "dropped")


@FUZZ
@given(
    flags=st.integers(0, 255),
    port=st.integers(0, 65535),
    ihl=st.integers(5, 15),
    ttl=st.integers(0, 255),
)
def test_any_tcp_packet_leaves_the_counts_right(
    busy: Director, flags: int, port: int, ihl: int, ttl: int
) -> None:
    options = bytes(4 * (ihl - 5))
    segment = bytes(TCP(sport=port, dport=80, flags=flags))
    header = bytes(ip4(CLIENT, VIP, ihl=ihl, ttl=ttl, proto=6, len=ihl * 4 + len(segment)))
    busy(bytes(eth()) + header + options + segment)
    rows = busy.rows().values()
    assert sum(active + inactive for _, active, inactive in rows) == busy.connections()
    assert all(active >= 0 and inactive >= 0 for _, active, inactive in rows)


def test_a_packet_without_a_service_at_all(director: Director) -> None:
    sent = eth() / ip4(CLIENT, VIP) / SYN
    assert director(sent) == left_alone(sent)


def test_a_full_table_drops_new_connections_only(director: Director) -> None:
    """Both buckets of a client are full: known clients go on."""
    director.add_service()
    director.add(REAL, GATE)
    old = eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S")
    director(old)
    with director.every_free_slot_taken(), director.counted(table_full=1, gate=1):
        assert director(eth() / ip4(CLIENT, VIP) / tcp(40001, 80, "S")) == DROPPED
        assert director(old) == forwarded(
            director.onward(REAL) / ip4(CLIENT, VIP, ttl=63) / tcp(40000, 80, "S")
        )


@pytest.mark.parametrize("flags", ["R", "FA", "S"])
def test_an_ipv6_packet_between_ipv4_mapped_addresses_is_no_packet_of_an_ipv4_connection(
    director: Director, flags: str
) -> None:
    """As they lie in the table. On the wire they are nobody's (RFC 4942, 2.1.3)."""
    director.add_service()
    director.add(REAL, MASQ)
    director(eth() / ip4(CLIENT, VIP) / SYN)
    director(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "A"))
    before = director.connection()
    request = eth() / IPv6(src=f"::ffff:{CLIENT}", dst=f"::ffff:{VIP}") / tcp(40000, 80, flags)
    reply = eth_back() / IPv6(src=f"::ffff:{REAL}", dst=f"::ffff:{CLIENT}") / tcp(80, 40000, flags)
    for packet in (request, reply):
        assert director(packet) == left_alone(packet)
    assert director.connection() == before
    director.delete(REAL)
    with director.counted():
        assert director(request) == left_alone(request)
