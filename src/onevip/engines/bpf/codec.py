"""Between the model's values and what stands in the maps."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from onevip.engines.bpf import shapes
from onevip.engines.bpf.shapes import Scheduler, ServiceFlags
from onevip.model import Protocol, ServiceKey, UnknownScheduler

SCHEDULERS = {
    name.removeprefix("SCHED_").lower(): int(number)
    for name, number in Scheduler.__members__.items()
}
SCHEDULER_NAMES = {number: name for name, number in SCHEDULERS.items()}
SCHEDULER_FLAGS = ServiceFlags.SCHED_FALLBACK | ServiceFlags.SCHED_PORT | ServiceFlags.SCHED_FLAG_3
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
    port = struct.pack(">HBB", key.port, key.protocol, 0)
    return packed(key.address) + port + struct.pack("=I", key.mark)


def service_key(raw: bytes) -> ServiceKey:
    """What `key_bytes` made these of."""
    port, protocol, _ = struct.unpack(">HBB", raw[16:20])
    (mark,) = struct.unpack("=I", raw[20:24])
    return ServiceKey(Protocol(protocol), unpacked(raw[:16]), port, mark)


def mask_bytes(netmask: IPv4Address | IPv6Address | None) -> bytes:
    """What of a client's 16 bytes makes its network; all of them for None."""
    if netmask is None:
        return b"\xff" * 16
    return netmask.packed.rjust(16, b"\xff")


def netmask(raw: bytes, version: int) -> IPv4Address | IPv6Address | None:
    """What `mask_bytes` made these of."""
    if raw == b"\xff" * 16:
        return None
    return IPv4Address(raw[12:]) if version == 4 else IPv6Address(raw)


def scheduler_number(name: str) -> int:
    number = SCHEDULERS.get(name)
    if number is None:
        raise UnknownScheduler(f"no scheduler {name}; there are {', '.join(sorted(SCHEDULERS))}")
    return number


def gauge(half: int) -> int:
    """Half of real.counts; a reader may see half of a borrow: never below 0."""
    half &= 0xFFFFFFFF
    return half if half < 1 << 31 else 0
