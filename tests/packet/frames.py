"""Frames as bytes, made and read without Scapy: for tests that send many thousands.

Addresses are text, ports host order. Checksums are right, but for SCTP's.
"""

from __future__ import annotations

import struct
from functools import cache
from ipaddress import IPv4Address
from typing import NamedTuple

from packet.network import FRONT, ROUTER

ETH_LEN, IP_LEN = 14, 20
ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
PORT_UNREACHABLE = (3, 3)


class Seen(NamedTuple):
    """What a frame says. Ports of ICMP: its type and code."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    protocol: int
    length: int  # of the IP packet


@cache
def packed(address: str) -> bytes:
    return IPv4Address(address).packed


@cache
def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _frame(l4: bytes, source: str, destination: str, protocol: int, *, to: str, by: str) -> bytes:
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, IP_LEN + len(l4), 0, 0x4000, 64, protocol, 0,
        packed(source), packed(destination),
    )  # fmt: skip
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return mac(to) + mac(by) + b"\x08\x00" + ip + l4


def _pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    return struct.pack(">4s4sBBH", packed(source), packed(destination), 0, protocol, length)


def tcp(
    source: str, source_port: int, destination: str, destination_port: int, flags: str,
    *, to: str = FRONT, by: str = ROUTER,
) -> bytes:  # fmt: skip
    """A TCP segment without data. `flags` as Scapy's: "SA"."""
    bits = sum(FLAGS[flag] for flag in flags)
    l4 = struct.pack(
        ">HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, bits, 65535, 0, 0
    )  # fmt: skip
    check = checksum(_pseudo(source, destination, TCP, len(l4)) + l4)
    return _frame(
        l4[:16] + check.to_bytes(2, "big") + l4[18:], source, destination, TCP, to=to, by=by
    )


def udp(
    source: str, source_port: int, destination: str, destination_port: int, data: bytes = b"",
    *, to: str = FRONT, by: str = ROUTER,
) -> bytes:  # fmt: skip
    """A datagram."""
    length = 8 + len(data)
    head = struct.pack(">HHHH", source_port, destination_port, length, 0)
    check = checksum(_pseudo(source, destination, UDP, length) + head + data) or 0xFFFF
    l4 = head[:6] + check.to_bytes(2, "big") + data
    return _frame(l4, source, destination, UDP, to=to, by=by)


def sctp(
    source: str, source_port: int, destination: str, destination_port: int,
    chunks: tuple[int, ...], *, to: str = FRONT, by: str = ROUTER,
) -> bytes:  # fmt: skip
    """Chunks of these types, empty ones. Its checksum is 0: nobody on the road verifies it."""
    l4 = struct.pack(">HHII", source_port, destination_port, 1, 0)
    l4 += b"".join(struct.pack(">BBH", kind, 0, 4) for kind in chunks)
    return _frame(l4, source, destination, SCTP, to=to, by=by)


def seen(frame: bytes) -> Seen:
    """Reads an Ethernet frame of IPv4. Raises ValueError for another."""
    if frame[12:14] != b"\x08\x00" or len(frame) < ETH_LEN + IP_LEN + 4:
        raise ValueError(f"no IPv4 packet: {frame.hex()}")
    length, protocol = struct.unpack_from(">H5xB", frame, ETH_LEN + 2)
    source, destination = frame[26:30], frame[30:34]
    l4 = ETH_LEN + (frame[ETH_LEN] & 15) * 4
    ports = struct.unpack_from(">BB" if protocol == ICMP else ">HH", frame, l4)
    return Seen(
        text(source), ports[0], text(destination), ports[1], protocol, length,
    )  # fmt: skip


@cache
def text(address: bytes) -> str:
    return str(IPv4Address(address))
