"""Opens UDP connections by the ten thousand, one frame each; runs in the client's namespace.

The sources lie in 10.99.0.0/16, where nobody answers and nobody is told that the port is closed.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from ipaddress import IPv4Address

INTERFACE = "eth0"
SOURCES = int(IPv4Address("10.99.0.0"))
SOURCE_PORT = 4000
IP, UDP = 0x0800, 17
BURST = 100  # frames between two pauses: the receiver's backlog holds a thousand
PAUSE_S = 0.001


def ip_header(source: int, destination: int, length: int) -> bytes:
    words = [0x4500, length, 0, 0, 64 << 8 | UDP, 0]
    words += [source >> 16, source & 0xFFFF, destination >> 16, destination & 0xFFFF]
    total = sum(words)
    words[5] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack(">10H", *words)


def flood(mac: str, vip: str, port: int, first: int, count: int) -> None:
    """Send the first datagram of connections `first` to `first + count`, below 65536."""
    destination = int(IPv4Address(vip))
    udp = struct.pack(">4H", SOURCE_PORT, port, 8, 0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((INTERFACE, IP))
        ethernet = (
            bytes.fromhex(mac.replace(":", "")) + out.getsockname()[4] + struct.pack(">H", IP)
        )
        for number in range(first, first + count):
            out.send(ethernet + ip_header(SOURCES + number, destination, 28) + udp)
            if number % BURST == 0:
                time.sleep(PAUSE_S)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [mac, vip, port, first, count]:
            flood(mac, vip, int(port), int(first), int(count))
        case _:
            sys.exit("usage: flood.py MAC VIP PORT FIRST COUNT")
