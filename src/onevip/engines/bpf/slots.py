"""What lies in a slot of the connection table, and what it means. Decodes only, reads no table.

The layout is shapes.h's, the control word connections.h's.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import NamedTuple

from onevip.engines.bpf.codec import unpacked
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import CONNECTION, REAL
from onevip.model import Protocol, RealServerKey, ServiceKey
from onevip.model.connection import STATES, TEMPLATE_STATES

SLOT = CONNECTION.size

# The control word.
LIVE, PHASE = 2, 3
ACTIVE = 1 << 2
STATE_SHIFT, STATE = 4, 15 << 4
TEMPLATE = 1 << 11
IDENTITY = PHASE | 0xFFFFFFF << 12  # phase, generation, tag: which connection it is
SEEN_SHIFT, CLOCK = 40, 0xFFFFFF
TIMED = CLOCK << SEEN_SHIFT | TEMPLATE | STATE | ACTIVE  # state, and since when

# Big endian, so that addresses and ports are as people read them; the control word is turned
# round. The last field is the "aim": from the VIP's port to the last byte of protocol and index of
# the real server, wherever they lie in it. VIP and aim are the same for many connections.
_AIM = CONNECTION.fields["vip_port"].offset
_PROTOCOL = CONNECTION.fields["protocol"].offset - _AIM
_REAL = CONNECTION.fields["real"].offset - _AIM
_LENGTH = max(_PROTOCOL + 1, _REAL + 4)
_REST = f"{_LENGTH}s{SLOT - _AIM - _LENGTH}x"
ROW = struct.Struct(
    f">Q8x12sBBBB16sH{_REST}"
)  # control, client in five parts, VIP, client's port, aim
# low byte of control, VIP, aim
KIND = struct.Struct(f">B31x16s2x{_REST}")


def turned(word: int) -> int:
    """A control word as ROW reads it, and back."""
    return int.from_bytes(word.to_bytes(8, "little"), "big")


class Target(NamedTuple):
    """Where a connection leads."""

    service: ServiceKey
    real_server: RealServerKey
    real: int  # index into reals


@dataclass(frozen=True, slots=True)
class Reals:
    """Addresses and ports of all real servers at one look, those of deleted ones too."""

    columns: tuple[list[int], ...]

    @classmethod
    def look(cls, plane: DataPlane) -> Reals:
        used = plane.settings.get(0, "reals_used")
        address, port = REAL.fields["address"].offset, REAL.fields["port"].offset
        return cls(tuple(plane.reals.words(at, 0, used) for at in (address, address + 8, port)))

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> RealServerKey:
        raw = b"".join(column[index].to_bytes(8, sys.byteorder) for column in self.columns)
        return RealServerKey(unpacked(raw[:16]), int.from_bytes(raw[16:18], "big"))

    def target(self, vip: bytes, aim: bytes) -> Target:
        """Where the connections of a VIP and an aim lead."""
        port = int.from_bytes(aim[:2], "big")
        index = int.from_bytes(aim[_REAL : _REAL + 4], sys.byteorder)
        real = self[index]
        return Target(
            ServiceKey(Protocol(aim[_PROTOCOL]), unpacked(vip), port),
            RealServerKey(real.address, real.port or port),  # 0: of a service of every port
            index,
        )


class Times:
    """How long connections have left."""

    def __init__(self, plane: DataPlane, now: int) -> None:
        self.now = now
        self._hz: int = plane.settings.get(0, "hz")
        self._shift: int = plane.settings.get(0, "clock_shift")
        self._tcp = plane.settings.get_many(0, "tcp_timeout")
        self._udp = plane.settings.get(0, "udp_timeout")

    def expires_s(self, control: int, protocol: Protocol, template_timeout: int) -> int:
        if control & TEMPLATE:
            timeout = template_timeout
        elif protocol is Protocol.TCP:
            timeout = self._tcp[(control & STATE) >> STATE_SHIFT]
        else:
            timeout = self._udp
        idle = (self.now - (control >> SEEN_SHIFT)) & CLOCK
        if idle > CLOCK // 2:  # seen after `now`
            idle = 0
        return (max(0, timeout - idle) << self._shift) // self._hz


def state_name(control: int, protocol: Protocol) -> str:
    """As IPVS calls it."""
    names = TEMPLATE_STATES if control & TEMPLATE else STATES[protocol]
    return names[(control & STATE) >> STATE_SHIFT]
