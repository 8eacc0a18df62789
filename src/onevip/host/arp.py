"""Gratuitous ARP: tells the neighbours at once which MAC a VIP is at."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from onevip.model import HostError

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ETHERNET_IPV4_REQUEST = bytes.fromhex("0001 0800 06 04 0001")


def can_announce(mac: str) -> bool:
    """Whether an interface with this MAC has neighbours to tell (lo and tunnels have none)."""
    return len(mac) == 17 and mac != "00:00:00:00:00:00"


def frame(vip: IPv4Address, mac: str) -> bytes:
    """An ARP announcement as RFC 5227 §3 has it: a request with both addresses the VIP."""
    sender = bytes.fromhex(mac.replace(":", ""))
    return (
        _BROADCAST
        + sender
        + _ETH_P_ARP.to_bytes(2, "big")
        + _ETHERNET_IPV4_REQUEST
        + sender
        + vip.packed
        + bytes(6)
        + vip.packed
    )


def announce(vip: IPv4Address, interface: str, mac: str, times: int) -> None:
    """Send that many announcements, since a switch may lose one. Raises HostError."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, _ETH_P_ARP))
            for _ in range(times):
                raw.send(frame(vip, mac))
    except OSError as error:
        raise HostError(f"cannot send ARP on {interface}: {error.strerror}") from error
