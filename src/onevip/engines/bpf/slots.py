"""What lies in a slot of the connection table, and what it means. Decodes only, reads no table.

The layout is shapes.h's, the control word connections.h's.
"""

from __future__ import annotations

import enum
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
DISABLED = 1 << 10  # of a template: it is used no more
OWN_PORT = 1 << 13  # it goes to the port that the client called, not to the real server's
GENERATION_SHIFT = 14
IDENTITY = PHASE | 0x3FFFFFF << GENERATION_SHIFT  # phase, generation, tag: which connection it is
SEEN_SHIFT, CLOCK = 40, 0xFFFFFF
TIMED = CLOCK << SEEN_SHIFT | STATE | ACTIVE  # state, and since when

DISABLED_PORT = 0xFFFF  # that a template which is used no more shows (spec ipvs §5.2)
TEMPLATE_TIMEOUT = 0xFFFFFF  # in the word of its own, clock units

# Big endian, so that addresses and ports are as people read them; the words are turned round. The
# last field is the "aim": from the VIP's port to the last byte of protocol and index of the real
# server, wherever they lie in it. VIP and aim are the same for many connections.
_AIM = CONNECTION.fields["vip_port"].offset
_PROTOCOL = CONNECTION.fields["protocol"].offset - _AIM
_REAL = CONNECTION.fields["real"].offset - _AIM
_LENGTH = max(_PROTOCOL + 1, _REAL + 4)
_REST = f"{_LENGTH}s{SLOT - _AIM - _LENGTH}x"
ROW = struct.Struct(
    f">Q8x12sBBBB16sH{_REST}"
)  # control, client in five parts, VIP, client's port, aim
TEMPLATE_ROW = struct.Struct(f">QQ16s16s2x{_REST}")  # control, its own word, client, VIP, aim
# low byte of control, VIP, aim
KIND = struct.Struct(f">B31x16s2x{_REST}")


def turned(word: int) -> int:
    """A control word as ROW reads it, and back."""
    return int.from_bytes(word.to_bytes(8, "little"), "big")


class Sort(enum.Enum):
    """How what is listed of a slot is found. Its value: who is, by the control word's 2nd byte."""

    CONNECTION = bytes(not byte << 8 & (TEMPLATE | OWN_PORT) for byte in range(256))
    OF_CALLED_PORT = bytes(byte << 8 & (TEMPLATE | OWN_PORT) == OWN_PORT for byte in range(256))
    TEMPLATE = bytes(byte << 8 & (TEMPLATE | DISABLED) == TEMPLATE for byte in range(256))
    DISABLED = bytes(byte << 8 & (TEMPLATE | DISABLED) > TEMPLATE for byte in range(256))

    @property
    def is_template(self) -> bool:
        return self in (Sort.TEMPLATE, Sort.DISABLED)


class Target(NamedTuple):
    """Where a connection leads."""

    service: ServiceKey
    real_server: RealServerKey


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

    def target(self, sort: Sort, vip: bytes, aim: bytes) -> Target:
        """Where the connections of a VIP and an aim lead."""
        port = int.from_bytes(aim[:2], "big")
        real = self[int.from_bytes(aim[_REAL : _REAL + 4], sys.byteorder)]
        if sort is Sort.DISABLED:
            port = real_port = DISABLED_PORT
        elif sort is Sort.OF_CALLED_PORT or (sort is Sort.TEMPLATE and not port):
            real_port = port
        else:
            real_port = real.port or port  # 0: of a service of every port
        return Target(
            ServiceKey(Protocol(aim[_PROTOCOL]), unpacked(vip), port),
            RealServerKey(real.address, real_port),
        )


class Times:
    """How long connections have left."""

    def __init__(self, plane: DataPlane, now: int) -> None:
        self.now = now
        self._hz: int = plane.settings.get(0, "hz")
        self._shift: int = plane.settings.get(0, "clock_shift")
        udp = plane.settings.get(0, "udp_timeout")
        self._timeouts = {
            Protocol.TCP: plane.settings.get_many(0, "tcp_timeout"),
            Protocol.UDP: (udp,) * 16,
            Protocol.SCTP: plane.settings.get_many(0, "sctp_timeout"),
        }

    def expires_s(self, control: int, protocol: Protocol) -> int:
        """Seconds until a connection ends."""
        return self._left_s(control, self._timeouts[protocol][(control & STATE) >> STATE_SHIFT])

    def template_expires_s(self, control: int, word: int) -> int:
        """Seconds until a template ends: each has its own timeout."""
        return self._left_s(control, word & TEMPLATE_TIMEOUT)

    def _left_s(self, control: int, timeout: int) -> int:
        idle = (self.now - (control >> SEEN_SHIFT)) & CLOCK
        if idle > CLOCK // 2:  # seen after `now`
            idle = 0
        return (max(0, timeout - idle) << self._shift) // self._hz


def state_name(control: int, protocol: Protocol) -> str:
    """A connection's state as IPVS calls it."""
    return STATES[protocol][(control & STATE) >> STATE_SHIFT]


def template_state_name(control: int) -> str:
    """A template's."""
    return TEMPLATE_STATES[(control & STATE) >> STATE_SHIFT]
