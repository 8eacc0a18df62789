"""The programs of one interface as a packet meets them: the door that is open, then the tc door.

Frames are bytes (frames.py). What a test asks of one door alone is wire.py's.
"""

from __future__ import annotations

import os
import socket
import struct
import weakref
from typing import NamedTuple

from onevip.engines.bpf import libbpf, loader
from packet import frames
from packet.network import BACK, FRONT
from packet.wire import LO, SKB_IFINDEX, SKB_SIZE, VERDICTS

SKB_MARK = 8  # struct __sk_buff


class Outcome(NamedTuple):
    """What became of a packet: "forwarded", "dropped" or "left alone". Dropped has no bytes."""

    verdict: str
    frame: bytes

    @property
    def seen(self) -> frames.Seen:
        return frames.seen(self.frame)

    @property
    def is_refusal(self) -> bool:
        """Answered by ICMP port unreachable."""
        if self.verdict != "forwarded":
            return False
        seen = self.seen
        kind = (seen.source_port, seen.destination_port)
        return seen.protocol == frames.ICMP and kind == frames.PORT_UNREACHABLE


class Road:
    """Takes a frame by interface `front` or `back`, whichever MAC it is for."""

    def __init__(self, plane: loader.DataPlane, door: str) -> None:
        self._plane = plane
        self._xdp = loader.load_xdp(plane) if door == "xdp" else None
        self._tc = plane.program("onevip_tc")
        for fd in (self._tc, self._xdp):
            if fd is not None:
                weakref.finalize(self, os.close, fd)
        self._interfaces = {
            frames.mac(mac): socket.if_nametoindex(name)
            for mac, name in ((FRONT, "front"), (BACK, "back"))
        }

    def __call__(self, frame: bytes, mark: int = 0) -> Outcome:
        """Take a frame. `mark`: what nftables wrote on it; the xdp door comes before that."""
        if self._xdp is not None:
            outcome = self._by_xdp(self._xdp, frame)
            if outcome.verdict != "left alone":
                return outcome
        context = bytearray(SKB_SIZE)
        struct.pack_into("=I", context, SKB_MARK, mark)
        struct.pack_into("=I", context, SKB_IFINDEX, self._interfaces[frame[:6]])
        return self._run(self._tc, "tc", frame, bytes(context))

    def _by_xdp(self, program: int, frame: bytes) -> Outcome:
        # a test run of xdp arrives by lo: it gets the MAC of the interface that the frame is for
        own = self._plane.own_macs
        own.set(LO, "mac", 1 << 63 | int.from_bytes(frame[:6], "little"))
        own.set(LO, "interface", LO)
        return self._run(program, "xdp", frame, b"")

    def _run(self, program: int, door: str, frame: bytes, context: bytes) -> Outcome:
        number, out, _ = libbpf.run_program(program, frame, context=context)
        verdict = VERDICTS[door].get(number, f"verdict {number}")
        return Outcome(verdict, b"" if verdict == "dropped" else out)
