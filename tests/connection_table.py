"""A connection table in memory that no kernel looks at, with the maps it needs. For tests only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from onevip.engines.bpf import BpfEngine, shapes
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.connections import Reader
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.maps import MappedArray
from onevip.model import ConnectionFilter, Protocol

HZ = 64  # a clock unit is a second
NOW = 5_000_000  # clock units; any
LIVE, CLAIMED, FREE = 2, 1, 0
TCP_TIMEOUTS_S = (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120)
SCTP_TIMEOUTS_S = (2, 60, 60, 60, 60, 60, 60, 60, 900, 300, 300, 30, 1, 10)
UDP_TIMEOUT_S = 300
Address = IPv4Address | IPv6Address


def mapped(shape: shapes.Shape, entries: int, of: type[MappedArray] = MappedArray) -> MappedArray:
    """An array in anonymous memory."""
    stride = (shape.size + 7) // 8 * 8
    fd = os.memfd_create(shape.name)
    os.ftruncate(fd, stride * entries)
    return of(fd, shape, entries)


@dataclass(frozen=True)
class Slot:
    """What is written into a slot. `timeout`, `under`, `disabled`: of a template."""

    client: Address
    client_port: int
    vip: Address
    vip_port: int
    real: int = 0
    protocol: Protocol = Protocol.TCP
    state: int = 1
    seen: int = NOW
    active: bool = False
    template: bool = False
    phase: int = LIVE
    generation: int = 1
    tag: int = 0
    method: int = 0
    own_port: bool = False
    timeout: int = 0
    under: int = 0
    disabled: bool = False

    @property
    def control(self) -> int:
        return (
            self.phase
            | self.active << 2
            | self.state << 4
            | self.method << 8
            | self.disabled << 10
            | self.template << 11
            | self.own_port << 13
            | self.generation << 14
            | self.tag << 28
            | self.seen << 40
        )

    @property
    def word(self) -> int:
        if not self.template:
            return 0x5A5A5A << 8 | 1  # a bucket's, or where its template is: nothing to show
        return self.timeout | self.under << 24 | self.generation << 48 | 1 << 63


class SyntheticPlane(DataPlane):
    """Settings, real servers and tables of slots, as a loaded data plane has them."""

    def __init__(self, *slots: int, reals: int = 64, of: type[MappedArray] = MappedArray) -> None:
        self.settings = mapped(shapes.SETTINGS, 1)
        self.reals = mapped(shapes.REAL, reals)
        self.slots = [mapped(shapes.CONNECTION, count, of) for count in slots or (64,)]
        self.settings.set(0, "hz", HZ)
        self.settings.set(0, "clock_shift", 6)
        self.settings.set_many(0, "tcp_timeout", (*TCP_TIMEOUTS_S, 0, 0, 0, 0, 0))
        self.settings.set_many(0, "sctp_timeout", (*SCTP_TIMEOUTS_S, 0, 0))
        self.settings.set(0, "udp_timeout", UDP_TIMEOUT_S)

    def connection_tables(self) -> list[MappedArray]:
        return self.slots

    def put_real(self, index: int, address: Address, port: int) -> None:
        self.reals.set_bytes(index, "address", packed(address))
        self.reals.set(index, "port", port)
        used = self.settings.get(0, "reals_used")
        self.settings.set(0, "reals_used", max(used, index + 1))

    def put(self, at: int, slot: Slot, table: int = 0) -> None:
        write(self.slots[table], at, slot)

    def put_all(self, slots: Iterable[Slot]) -> None:
        for at, slot in enumerate(slots):
            self.put(at, slot)


class SyntheticEngine(BpfEngine):
    """The engine over such a plane, at an hour of our choosing."""

    def __init__(self, plane: SyntheticPlane) -> None:
        self.plane = plane

    def _reader(self, wanted: ConnectionFilter) -> Reader:
        return Reader(self.plane, wanted, lambda: NOW)


def write(table: MappedArray, at: int, slot: Slot) -> None:
    """Fill a slot, its control word last."""
    table.set_bytes(at, "client", packed(slot.client))
    table.set_bytes(at, "vip", packed(slot.vip))
    table.set(at, "client_port", slot.client_port)
    table.set(at, "vip_port", slot.vip_port)
    table.set(at, "real", slot.real)
    table.set(at, "protocol", slot.protocol)
    table.set(at, "is_template", slot.template)
    table.set(at, "word", slot.word)
    table.set(at, "control", slot.control)
