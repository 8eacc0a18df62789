"""What the tc door answers itself, in the VIP's name; the xdp door leaves it to tc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, IPOption_NOP, UDPerror
from scapy.layers.l2 import Ether

from onevip.model import ForwardingMethod, Protocol
from packet.network import ip
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
    Verdict,
    eth,
    eth_back,
    forwarded,
    icmp,
    ip4,
    left_alone,
    tcp,
    udp,
)

SYN = eth() / ip4(CLIENT, VIP, ttl=64, id=7) / tcp(40000, 80, "S", seq=99)
DATAGRAM = eth() / ip4(CLIENT, VIP, ttl=64, id=7) / udp(40000, 80) / b"data of the datagram"


def answer(sent: Any, kind: int, code: int, *, quoted: int, **fields: Any) -> Verdict:
    """The error that the sender gets, back the way by which the packet came, from its far end:
    a client from the VIP, a real server from its client."""
    arrived = Ether(bytes(sent))
    return forwarded(
        Ether(dst=arrived.src, src=arrived.dst)
        / ip4(arrived[IP].dst, arrived[IP].src, tos=0xC0, ttl=64, id=0)
        / icmp(kind, code, **fields)
        / bytes(arrived.payload)[:quoted]
    )


@pytest.mark.parametrize("weight", [None, 0], ids=["none at all", "all of weight 0"])
def test_no_real_server_is_an_unreachable_port(tc: Director, weight: int | None) -> None:
    """For TCP too: IPVS never makes a RST (spec ipvs §1.5)."""
    tc.add_service()
    if weight is not None:
        tc.add(REAL, GATE, weight=weight)
    with tc.counted(no_real_server=1):
        assert tc(SYN) == answer(SYN, 3, 3, quoted=40)
    assert tc.connections() == 0
    assert tc.counters(None).connections == 0


def test_the_quote_of_a_datagram_has_its_whole_udp_header(tc: Director) -> None:
    tc.add_service(protocol=Protocol.UDP)
    out = tc(DATAGRAM)
    assert out == answer(DATAGRAM, 3, 3, quoted=28)
    assert out.packet[UDPerror].sport == 40000


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sed", "nq"])
def test_every_scheduler_refuses_when_nobody_has_weight(tc: Director, scheduler: str) -> None:
    tc.add_service(scheduler)
    assert tc(SYN) == answer(SYN, 3, 3, quoted=40)
    tc.add(REAL, MASQ, weight=0)
    assert tc(SYN) == answer(SYN, 3, 3, quoted=40)


@pytest.mark.parametrize("size", [0, 6, 1000])
def test_an_answer_has_one_size_whatever_came(tc: Director, size: int) -> None:
    tc.add_service()
    sent = SYN / bytes(size)
    assert tc(sent) == answer(sent, 3, 3, quoted=40)


def test_padding_is_not_quoted(tc: Director) -> None:
    tc.add_service(protocol=Protocol.UDP)
    bare = eth() / ip4(CLIENT, VIP) / udp(5000, 80)
    assert tc(bytes(bare) + bytes(18)) == answer(bare, 3, 3, quoted=28)


@pytest.mark.parametrize("method", METHODS)
def test_a_packet_at_its_last_hop_is_answered(tc: Director, method: ForwardingMethod) -> None:
    tc.add_service()
    tc.add(REAL, method)
    tc(SYN)
    for ttl in (1, 0):
        late = eth() / ip4(CLIENT, VIP, ttl=ttl) / tcp(40000, 80, "A") / b"data"
        with tc.counted(ttl_exceeded=1):
            assert tc(late) == answer(late, 11, 0, quoted=40)


def test_a_reply_at_its_last_hop_ends_here(tc: Director) -> None:
    tc.add_service()
    tc.add(REAL, MASQ)
    tc(SYN)
    with tc.counted(ttl_exceeded=1):
        assert tc(eth_back() / ip4(REAL, CLIENT, ttl=1) / tcp(80, 40000, "SA")) == DROPPED


def data(length: int, flags: str = "DF") -> Any:
    """An IP packet of this length."""
    return eth() / ip4(CLIENT, VIP, flags=flags) / tcp(40000, 80, "A") / bytes(length - 40)


@pytest.mark.parametrize(
    ("method", "mtu"),
    [(GATE, 1500), (MASQ, 1500), (IPIP, 1480)],
    ids=["gate", "masq", "ipip: a header less"],
)
def test_what_must_not_be_fragmented_and_is_too_long_is_told_the_mtu(
    tc: Director, method: ForwardingMethod, mtu: int
) -> None:
    tc.add_service()
    tc.add(REAL, method)
    tc(SYN)
    with tc.counted(too_big=1):
        sent = data(mtu + 1)
        assert tc(sent) == answer(sent, 3, 4, quoted=40, nexthopmtu=mtu)
    with tc.counted(**{method.name.lower(): 2}):
        assert tc(data(mtu)).name == "forwarded"
        assert tc(data(mtu + 1, flags="")).name == "forwarded"


@pytest.fixture
def narrow_front() -> Iterator[None]:
    """The way to the clients is narrower than the one to the real servers."""
    ip("link set front mtu 1400\n")
    yield
    ip("link set front mtu 1500\n")


def test_a_real_server_is_told_the_mtu_of_the_way_to_its_client(
    tc: Director, narrow_front: None
) -> None:
    """The client's MSS does not say what lies on the way."""
    tc.add_service()
    tc.add(REAL, MASQ)
    tc(SYN)

    def reply(length: int, flags: str = "DF") -> Any:
        ports = tcp(80, 40000, "A")
        return eth_back() / ip4(REAL, CLIENT, flags=flags) / ports / bytes(length - 40)

    with tc.counted(too_big=1):
        sent = reply(1401)
        assert tc(sent) == answer(sent, 3, 4, quoted=40, nexthopmtu=1400)
    with tc.counted(replies=2):
        assert tc(reply(1400)).name == "forwarded"
        assert tc(reply(1401, flags="")).name == "forwarded"


def test_xdp_leaves_a_reply_that_is_too_long_to_tc(xdp: Director, narrow_front: None) -> None:
    xdp.add_service()
    xdp.add(REAL, MASQ)
    xdp(SYN)
    with xdp.counted(handed_over=2):
        for flags in ("DF", ""):
            ports = tcp(80, 40000, "A")
            sent = eth_back() / ip4(REAL, CLIENT, flags=flags) / ports / bytes(1361)
            assert xdp(sent) == left_alone(sent)


def test_of_a_gso_packet_the_length_of_its_segments_counts(tc: Director) -> None:
    tc.add_service()
    tc.add(REAL, GATE)
    tc(SYN)
    with tc.counted(gate=1, too_big=1):
        assert tc(data(3000), gso_size=1460).name == "forwarded"
        assert tc(data(3000), gso_size=1461) == answer(data(3000), 3, 4, quoted=40, nexthopmtu=1500)


def test_a_checksum_that_the_network_card_fills_in_later_is_foreseen(tc: Director) -> None:
    """The sender wrote the pseudo header's sum only; the kernel completes it inside our quote."""
    tc.add_service()
    words = bytes(IP(bytes(SYN.payload)))[12:20] + b"\0\x06" + (20).to_bytes(2)
    sent = SYN.copy()
    sent[TCP].chksum = sum16(words)
    out = tc(sent).frame
    at = 14 + 20 + 8 + 20  # of the quoted TCP header
    completed = out[: at + 16] + (sum16(out[at:]) ^ 0xFFFF).to_bytes(2) + out[at + 18 :]
    assert sum16(completed[34:]) == 0xFFFF  # ICMP header and quote
    assert sum16(out[34:]) != 0xFFFF


def test_a_packet_with_options_is_not_answered(tc: Director) -> None:
    """Unlike IPVS: the quote would have to be longer (icmp.h)."""
    tc.add_service()
    sent = eth() / ip4(CLIENT, VIP, options=[IPOption_NOP()]) / tcp(40000, 80, "S")
    assert tc(sent) == DROPPED


def test_xdp_leaves_every_answer_to_tc(xdp: Director) -> None:
    xdp.add_service()
    with xdp.counted(handed_over=1):
        assert xdp(SYN) == left_alone(SYN)
    xdp.add(REAL, IPIP)
    xdp(SYN)
    before = xdp.totals()
    last_hop = eth() / ip4(CLIENT, VIP, ttl=1) / tcp(40000, 80, "A")
    with xdp.counted(handed_over=3):  # the driver loses what is longer than its MTU
        for sent in (data(1481), data(1481, flags=""), last_hop):
            assert xdp(sent) == left_alone(sent)
    assert xdp.totals() == before


def sum16(data: bytes) -> int:
    """One's complement sum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
