"""Between the model's values and what stands in the maps."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from onevip.engines.bpf import shapes
from onevip.engines.bpf.shapes import Scheduler
from onevip.model import ServiceKey, UnknownScheduler

SCHEDULERS = {
    name.removeprefix("SCHED_").lower(): int(number)
    for name, number in Scheduler.__members__.items()
}
SCHEDULER_NAMES = {number: name for name, number in SCHEDULERS.items()}
TOTALS = tuple(shapes.TOTALS.fields)
U64 = 0xFFFFFFFFFFFFFFFF

MAPPED = bytes(10) + b"\xff\xff"


def packed(address: IPv4Address | IPv6Address) -> bytes:
    """16 bytes, IPv4 as ::ffff:a.b.c.d."""
    return address.packed if address.version == 6 else MAPPED + address.packed


def unpacked(raw: bytes) -> IPv4Address | IPv6Address:
    return ip_address(raw[12:]) if raw.startswith(MAPPED) else ip_address(raw)


def key_bytes(key: ServiceKey) -> bytes:
    """struct service_key."""
    return packed(key.address) + struct.pack(">HBBI", key.port, key.protocol, 0, 0)


def scheduler_number(name: str) -> int:
    number = SCHEDULERS.get(name)
    if number is None:
        raise UnknownScheduler(f"no scheduler {name}; there are {', '.join(sorted(SCHEDULERS))}")
    return number


def gauge(half: int) -> int:
    """Half of real.counts; a reader may see half of a borrow: never below 0."""
    half &= 0xFFFFFFFF
    return half if half < 1 << 31 else 0
