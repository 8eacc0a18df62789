"""ICMP echo on the wire: what is sent, and which messages are answers to it."""

from __future__ import annotations

import struct

import pytest

from onevip.health import icmp
from onevip.health.icmp import V4, V6, Answer, Family, answer, request

OURS = 0x1234
TOKEN = b"our own token  "


def ip4(payload: bytes, options: bytes = b"") -> bytes:
    return bytes([0x45 + len(options) // 4]) + b"\0" * 19 + options + payload


def checksum(message: bytes) -> int:
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("sequence", [0, 1, 65535, 65536, 7_000_000])
@pytest.mark.parametrize("identifier", [0, OURS, 0xFFFF])
def test_a_request_has_64_bytes_of_data_and_a_good_checksum(identifier, sequence):
    sent = request(V4, identifier, sequence, TOKEN)
    assert len(sent) == 8 + 64
    assert sent[:2] == b"\x08\x00"
    assert struct.unpack("!HH", sent[4:8]) == (identifier, sequence & 0xFFFF)
    assert checksum(sent) == 0xFFFF


def test_the_kernel_writes_the_checksum_of_icmpv6():
    assert request(V6, OURS, 1, TOKEN)[:4] == b"\x80\0\0\0"


def reply(family: Family) -> bytes:
    message = bytes([family.reply]) + request(family, OURS, 1, TOKEN)[1:]
    return ip4(message) if family is V4 else message


def error(family: Family, kind: int, code: int, quoted: bytes) -> bytes:
    header = ip4(b"") if family is V4 else b"\x60" + b"\0" * 39
    message = bytes([kind, code]) + b"\0" * 6 + header + quoted
    return ip4(message) if family is V4 else message


@pytest.mark.parametrize("family", [V4, V6])
def test_a_reply_gives_back_the_data(family):
    assert answer(family, reply(family)) == Answer(TOKEN.ljust(64, b"\0"))


def test_a_header_with_options_is_skipped():
    assert answer(V4, ip4(reply(V4)[20:], options=b"\1" * 8)) == answer(V4, reply(V4))


@pytest.mark.parametrize(
    ("family", "kind", "code", "words"),
    [
        (V4, 3, 1, "the host is unreachable"),
        (V4, 3, 13, "it is forbidden by a filter"),
        (V4, 3, 77, "ICMP error 3, code 77"),
        (V4, 11, 0, "the way to it is too long: a routing loop?"),
        (V6, 1, 0, "there is no route to it"),
        (V6, 1, 3, "the host is unreachable"),
    ],
)
def test_an_error_that_quotes_a_request_says_what_is_wrong(family, kind, code, words):
    message = error(family, kind, code, request(family, OURS, 1, TOKEN))
    assert answer(family, message) == Answer(TOKEN.ljust(64, b"\0"), words)


@pytest.mark.parametrize("family", [V4, V6])
def test_other_messages_are_no_answers(family):
    asked = request(family, OURS, 1, TOKEN)
    for message in (
        ip4(asked) if family is V4 else asked,  # somebody pings us
        error(family, min(family.errors), 0, b"\x11" + asked[1:]),  # about a packet of another
    ):
        assert answer(family, message) is None


@pytest.mark.parametrize("family", [V4, V6])
def test_a_cut_message_is_no_answer(family):
    quoted = error(family, min(family.errors), 0, request(family, OURS, 1, TOKEN))
    for message in (reply(family), quoted):
        for size in range(len(message)):
            answer(family, message[:size])  # raises nothing
    assert answer(family, b"") is None
    assert answer(family, reply(family)[:20]) in (None, Answer(TOKEN[:12]))


@pytest.mark.parametrize("family", [V4, V6])
def test_the_filter_passes_what_has_our_identifier(family):
    program = icmp.only_answers_to(family, OURS)
    quoted = request(family, OURS, 1, TOKEN)
    stranger = request(family, 0x4321, 1, TOKEN)
    others_reply = bytes([family.reply]) + stranger[1:]
    assert run(program, reply(family))
    assert run(program, error(family, 3, 1, quoted))
    assert not run(program, ip4(others_reply) if family is V4 else others_reply)
    assert not run(program, error(family, 3, 1, stranger))


def run(program: bytes, packet: bytes) -> int:
    """Classic BPF, as much of it as the filter needs; what the program returns."""
    instructions = list(struct.iter_unpack("=HBBI", bytes(program)))
    a = x = at = 0
    while True:
        code, jump_true, jump_false, k = instructions[at]
        at += 1
        match code:
            case 0xB1:
                x = 4 * (packet[k] & 0xF)
            case 0x01:
                x = k
            case 0x50:
                a = packet[x + k]
            case 0x48:
                a = int.from_bytes(packet[x + k : x + k + 2], "big")
            case 0x15:
                at += jump_true if a == k else jump_false
            case 0x05:
                at += k
            case 0x06:
                return k
