"""What the lab reads: lines of tcpdump and listings of ipvsadm."""

from __future__ import annotations

import io

import pytest

from onevip.lab.capture import decode
from onevip.lab.cluster import Row, rows_of
from onevip.lab.narration import Narrator

SYN = (
    "02:00:00:00:00:01 > 02:00:00:00:00:10, ethertype IPv4 (0x0800), length 74: "
    "10.20.0.1.40000 > 10.20.0.100.80: Flags [S], seq 1, win 64240, length 0"
)
TUNNELLED = (
    "02:00:00:00:00:10 > 02:00:00:00:00:11, ethertype IPv4 (0x0800), length 94: "
    "10.20.0.10 > 10.20.0.11: {label}10.20.0.1.40000 > 10.20.0.100.80: Flags [S], seq 1, length 0"
)
ARP = (
    "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: "
    "Request who-has 10.20.0.100 tell 10.20.0.1, length 28"
)

LISTING = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.20.0.100:80 wrr
  -> 10.20.0.11:80                Route   2      1          3
  -> 10.20.0.12:80                Tunnel  0      0          12
"""


def test_a_frame_has_its_macs_its_addresses_and_its_flags() -> None:
    frame = decode(SYN)
    assert frame is not None
    assert (frame.source_mac, frame.target_mac) == ("02:00:00:00:00:01", "02:00:00:00:00:10")
    assert frame.headers == (("10.20.0.1.40000", "10.20.0.100.80"),)
    assert frame.flags == "S"


@pytest.mark.parametrize("label", ["", "IP "])  # tcpdump 4.99 and before
def test_a_tunnelled_frame_has_two_headers_outside_in(label: str) -> None:
    frame = decode(TUNNELLED.format(label=label))
    assert frame is not None
    assert frame.headers == (("10.20.0.10", "10.20.0.11"), ("10.20.0.1.40000", "10.20.0.100.80"))
    assert frame.inner == ("10.20.0.1.40000", "10.20.0.100.80")
    assert "10.20.0.10 > 10.20.0.11 [10.20.0.1.40000 > 10.20.0.100.80]" in str(frame)


def test_arp_is_no_frame() -> None:
    assert decode(ARP) is None


def test_rows_of_a_listing_are_its_real_servers() -> None:
    assert rows_of(LISTING) == {
        "10.20.0.11:80": Row("10.20.0.11:80", "Route", 2, 1, 3),
        "10.20.0.12:80": Row("10.20.0.12:80", "Tunnel", 0, 0, 12),
    }


def test_narration_is_plain_where_no_terminal_is() -> None:
    output = io.StringIO()
    narrator = Narrator(output)
    with narrator.step("the sun rises") as shown:
        shown.append("in the east")
    with pytest.raises(ZeroDivisionError), narrator.step("it sets in the north"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), narrator.step("it rises again"):
        raise KeyboardInterrupt
    text = output.getvalue()
    assert "\033" not in text
    first, detail, second, third = text.splitlines()
    assert first.startswith("  1. the sun rises")
    assert " ok " in first
    assert detail.strip() == "in the east"
    assert second.endswith("not observed")
    assert third.endswith("interrupted")
