"""Netlink in a few lines: one question, the kernel's answers. Knows no interface and no rule.

For what is asked each second, or by a command: pyroute2 takes longer to import than to answer.
"""

from __future__ import annotations

import os
import socket
import struct

ROUTE, NETFILTER = 0, 12
REQUEST, ACK, DUMP, CREATE, EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
KIND = 0x3FFF  # without the flags "nested" and "network byte order"
PATIENCE_S = 5.0
RECEIVED = 1 << 16  # bytes at once: the kernel's answers are smaller

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")


def attribute(kind: int, *values: bytes) -> bytes:
    """One attribute; several values are nested ones."""
    value = b"".join(values)
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(raw: bytes) -> dict[int, bytes]:
    """Attributes by kind; of several of one kind the last."""
    found = {}
    while len(raw) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(raw)
        found[kind & KIND] = raw[_ATTRIBUTE.size : length]
        raw = raw[(max(length, _ATTRIBUTE.size) + 3) // 4 * 4 :]
    return found


def ask(protocol: int, kind: int, flags: int, payload: bytes) -> list[bytes]:
    """What the kernel answers, each without its header. Raises OSError when it refuses."""
    length = _HEADER.size + len(payload)
    message = _HEADER.pack(length, kind, REQUEST | ACK | flags, 1, 0) + payload
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(PATIENCE_S)
        netlink.send(message)
        answers: list[bytes] = []
        while True:
            if _read(netlink.recv(RECEIVED), answers):
                return answers


def _read(raw: bytes, answers: list[bytes]) -> bool:
    """Collect the answers of one datagram. True: that was the end."""
    while raw:
        length, kind, *_ = _HEADER.unpack_from(raw)
        body = raw[_HEADER.size : length]
        if kind == NLMSG_ERROR:
            error = -int.from_bytes(body[:4], "little", signed=True)
            if error:
                raise OSError(error, os.strerror(error))
            return True
        if kind == NLMSG_DONE:
            return True
        answers.append(body)
        raw = raw[(length + 3) // 4 * 4 :]
    return False
