"""ICMP echo on the wire (RFC 792, RFC 4443). No I/O: bytes in, bytes out."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

DATA_SIZE = 64  # as ldirectord sends
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between ICMP and ICMPv6. Messages of a raw IPv4 socket have their IP header."""

    request: int
    reply: int
    has_ip_header: bool
    quoted_header: int  # size of the IP header in an error's quotation; ours has no options
    errors: dict[int, dict[int, str]]  # type → code → words


V4 = Family(
    8, 0, True, 20,
    {
        3: {
            0: "its network is unreachable", 1: "the host is unreachable",
            2: "it does not speak ICMP", 9: "its network is forbidden by a filter",
            10: "it is forbidden by a filter", 13: "it is forbidden by a filter",
        },
        11: {0: "the way to it is too long: a routing loop?"},
        12: {},
    },
)  # fmt: skip
V6 = Family(
    128, 129, False, 40,
    {
        1: {
            0: "there is no route to it", 1: "it is forbidden by a filter",
            3: "the host is unreachable", 5: "it is forbidden by a filter",
            6: "there is no route to it",
        },
        2: {},
        3: {0: "the way to it is too long: a routing loop?"},
        4: {},
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """To a request of ours. `error`: what went wrong, "" for a reply. `data`: the request's."""

    data: bytes
    error: str = ""


def request(family: Family, identifier: int, sequence: int, data: bytes) -> bytes:
    """An echo request. For ICMPv6 the kernel writes the checksum."""
    padded = data.ljust(DATA_SIZE, b"\0")
    message = _HEADER.pack(family.request, 0, 0, identifier, sequence & 0xFFFF) + padded
    if family is V6:
        return message
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return message[:2] + checksum.to_bytes(2, "big") + message[4:]


def answer(family: Family, message: bytes) -> Answer | None:
    """What a raw socket received; None when it is no answer to any echo request."""
    start = (message[0] & 0xF) * 4 if family.has_ip_header and message else 0
    inner = start + _HEADER.size + family.quoted_header
    if len(message) < start + _HEADER.size:
        return None
    kind, code = message[start], message[start + 1]
    if kind == family.reply:
        return Answer(message[start + _HEADER.size :])
    if kind in family.errors and len(message) > inner and message[inner] == family.request:
        words = family.errors[kind].get(code, f"ICMP error {kind}, code {code}")
        return Answer(message[inner + _HEADER.size :], words)
    return None


def only_answers_to(family: Family, identifier: int) -> array[int]:
    """A socket filter (classic BPF): replies with this identifier, errors that quote it.

    A flood of others' messages would else fill the socket, and make every server look dead.
    """
    load_x, byte, half, equal, end = 0xB1, 0x50, 0x48, 0x15, 0x06
    in_reply = 4
    in_error = _HEADER.size + family.quoted_header + 4
    instructions = [
        (load_x, 0, 0, 0) if family.has_ip_header else (0x01, 0, 0, 0),  # x: the header's size
        (byte, 0, 0, 0),
        (equal, 0, 2, family.reply),
        (half, 0, 0, in_reply),
        (0x05, 0, 0, 1),  # over the next one
        (half, 0, 0, in_error),
        (equal, 0, 1, identifier),
        (end, 0, 0, 0xFFFF),
        (end, 0, 0, 0),
    ]
    packed = array("B")
    for one in instructions:
        packed.frombytes(_INSTRUCTION.pack(*one))
    return packed
