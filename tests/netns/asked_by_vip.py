"""Asks a real server by way of the VIP over TCP, UDP and by an echo, and prints what came.

For the tests: a program in the director's namespace, with VIP, RIP and gate or ipip.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from ipaddress import IPv4Address

from onevip.engines.bpf import BpfEngine
from onevip.health.tools import Tools
from onevip.model import (
    Check,
    CheckPath,
    CheckType,
    ForwardingMethod,
    Protocol,
    RealServerKey,
    ServiceKey,
)

PORT, CLOSED = 5300, 5301
PATIENCE_S = 3.0
ECHO = struct.pack("!BBHHH", 8, 0, 0, 4711, 1)  # type, code, checksum, identifier, number


def checksummed(message: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def main(vip: str, rip: str, method: str) -> None:
    service = ServiceKey(Protocol.UDP, IPv4Address(vip), PORT)
    real = RealServerKey(IPv4Address(rip), PORT)
    path = CheckPath(service, real, ForwardingMethod[method.upper()])
    engine = BpfEngine()
    marks = engine.check_paths([path])
    check = Check(CheckType.CONNECT, real.address, PORT, 3, 1, path=path)
    tools = Tools(None, lambda _: marks[path])  # type: ignore[arg-type]

    def told(answer: bytes) -> str:
        """With a raw socket's IP header its ICMP type: such a socket hears errors, too."""
        icmp = f"type {answer[20]}, " if answer[0] == 0x45 else ""
        return f"{icmp}{answer[-5:]!r}"

    def asked(kind: socket.SocketKind, port: int, question: bytes, protocol: int = 0) -> str:
        with tools.socket(check, kind, protocol) as asking:
            asking.settimeout(PATIENCE_S)
            try:
                asking.connect((rip, port))
                asking.send(question)
                return told(asking.recv(2000))
            except OSError as error:
                return os.strerror(error.errno) if error.errno else "nothing"

    print("udp", asked(socket.SOCK_DGRAM, PORT, b"hello"))
    print("udp closed", asked(socket.SOCK_DGRAM, CLOSED, b"hello"))
    print("tcp closed", asked(socket.SOCK_STREAM, CLOSED, b"hello"))
    echo = checksummed(ECHO + b"onevip")
    print("echo", asked(socket.SOCK_RAW, 0, echo, socket.IPPROTO_ICMP))
    engine.check_paths([])


if __name__ == "__main__":
    main(*sys.argv[1:])
