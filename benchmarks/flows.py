"""Flows by number and frames by flow, as generator.bpf.c makes them. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

U32: Final = 0xFFFFFFFF
PLAN: Final = struct.Struct("=7I4x80s")  # struct plan
FRAME, FRAME6 = 64, 80  # bytes
CLIENTS: Final = int(IPv4Address("10.64.0.0"))
CLIENT_PORTS: Final = 1024
CLIENT6: Final = "fd00:64::a40:0"  # the last word is the IPv4 address of the same flow


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a wrapper program makes packets of."""

    wrapper: str  # a program of generator.bpf.c
    frame: bytes  # of flow 0
    flows: int = 1  # a power of two
    reals: int = 1
    first_real: int = 0  # address of the real server of flow 0
    in_order: bool = False

    def __post_init__(self) -> None:
        if self.flows < 1 or self.flows & (self.flows - 1):
            raise ValueError(f"{self.flows} flows: only powers of two are permuted")

    def packed(self) -> bytes:
        return PLAN.pack(
            self.flows - 1,
            shift_of(self.flows),
            self.in_order,
            self.reals,
            self.first_real,
            0,
            0,
            self.frame,
        )


def shift_of(flows: int) -> int:
    """Half of the bits of a flow number, at least 1."""
    return max(1, (flows - 1).bit_length() // 2)


def flow_of(n: int, flows: int) -> int:
    """The flow of the n-th packet: a bijection of 0 … flows - 1, which is a power of two.

    Two multiplications with odd numbers, each followed by a shift: none loses a bit.
    """
    mask, shift = flows - 1, shift_of(flows)
    n = n * 0x9E3779B1 & U32 & mask
    n ^= n >> shift
    n = n * 0x85EBCA6B & U32 & mask
    return n ^ n >> shift


def client_of(flow: int) -> tuple[IPv4Address, int]:
    """Address and port: different for every flow up to 2^21 and far beyond."""
    return IPv4Address(CLIENTS | flow & 0xFFFF), CLIENT_PORTS + (flow >> 16)


def _filled(packet: Any, length: int) -> bytes:
    """With a payload that makes the frame this long."""
    return bytes(packet / bytes(length - len(packet)))


def frame4(macs: tuple[str, str], ends: tuple[str, str], l4: Any) -> bytes:
    """`macs` and `ends` are to and from. Linux sends TCP and UDP with DF."""
    to, source = ends
    return _filled(Ether(dst=macs[0], src=macs[1]) / IP(dst=to, src=source, flags="DF") / l4, FRAME)


def frame6(macs: tuple[str, str], ends: tuple[str, str], l4: Any) -> bytes:
    to, source = ends
    return _filled(Ether(dst=macs[0], src=macs[1]) / IPv6(dst=to, src=source) / l4, FRAME6)


def tcp(source: int, to: int, flags: str) -> Any:
    return TCP(sport=source, dport=to, flags=flags)


def udp(source: int, to: int) -> Any:
    return UDP(sport=source, dport=to)
