"""The real engine and the real programs, but that time stands still until a test moves it."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from onevip.engines.bpf import BpfEngine, libbpf, loader, marks, pins, tables
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Field, Shape
from packet.objects import compile_object
from packet.road import Road

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "bpf"
CLOCK = Shape(
    "frozen_clock", 24, {"jiffies": Field(0, "=Q"), "ns": Field(8, "=Q"), "chance": Field(16, "=Q")}
)
HZ = 256  # no kernel's: whole seconds are whole clock units then, and nothing is rounded
SLOTS = 2048  # the smallest connection table that a sweep can divide: a sweep costs little
HASHES = (1, 9)  # BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH
BEGIN_S = 2_000_000  # a clock of 0 would mean "never" here and there


def compile_objects(target: Path) -> Path:
    """Those with the clock in a map, by the names that the loader looks for; the rest as it is."""
    for name in ("tc", "xdp", "sweep"):
        compile_object(HERE / f"frozen_{name}.c", target / f"{name}.bpf.o")
    compile_object(SOURCES / "detour.bpf.c", target / "detour.bpf.o")
    return target


class Memory:
    """What all maps held at one moment."""

    def __init__(self, plane: loader.DataPlane) -> None:
        self._arrays: list[tuple[mmap.mmap, bytes]] = []
        self._hashes: list[tuple[int, int]] = []
        for path in sorted((plane.path / "maps").iterdir()):
            fd = libbpf.get_pinned(path)
            kind, _, key_size, value_size, entries, flags = struct.unpack_from(
                "=6I", libbpf.object_info(fd)
            )
            if kind in HASHES:
                self._hashes.append((fd, key_size))
                continue
            if kind == libbpf.MAP_TYPE_ARRAY and flags & libbpf.MMAPABLE:
                mapped = mmap.mmap(fd, (value_size + 7) // 8 * 8 * entries)
                self._arrays.append((mapped, mapped[:]))
            os.close(fd)

    def restore(self) -> None:
        """Counters per CPU are left: everybody looks at what is added only."""
        for mapped, held in self._arrays:
            mapped[:] = held
        for fd, key_size in self._hashes:
            for key in libbpf.map_keys(fd, key_size):
                libbpf.map_delete(fd, key)

    def close(self) -> None:
        for fd, _ in self._hashes:
            os.close(fd)


class FrozenDirector:
    """A BpfEngine whose programs live in a time of their own. `engine` as always."""

    def __init__(self, engine: BpfEngine, plane: loader.DataPlane) -> None:
        self.engine = engine
        self.plane = plane
        self.road = Road(plane, "tc")
        self._sweep, self._estimate = (plane.program(f"{one}_now") for one in ("sweep", "estimate"))
        fd = libbpf.get_pinned(plane.path / "maps" / "frozen_clock")
        self._clock = MappedArray(fd, CLOCK, 1)
        self._hz: int = plane.settings.get(0, "hz")
        self.now_s = float(BEGIN_S)
        self.advance(0)
        self._memory = Memory(plane)

    def close(self) -> None:
        os.close(self._sweep)
        os.close(self._estimate)
        self._memory.close()

    def forget(self) -> None:
        """All is as it was after loading, the secrets too."""
        self._memory.restore()
        self.now_s = float(BEGIN_S)
        self.advance(0)
        self.plane = loader.DataPlane(self.plane.path)
        self.engine = BpfEngine()

    def monotonic_ns(self) -> int:
        """For those in user space who ask the time."""
        return round(self.now_s * 10**9)

    def advance(self, seconds: float) -> None:
        """Time moves on; the sweeper has not looked yet."""
        self.now_s += seconds
        self._clock.set(0, "jiffies", round(self.now_s * self._hz))
        self._clock.set(0, "ns", round(self.now_s * 10**9))

    def draw_from(self, chance: int) -> None:
        """What the programs draw from now on: `Chance` draws the same."""
        self._clock.set(0, "chance", chance)

    def sweep(self) -> None:
        """What the sweeper does in a second: it looks at every connection once."""
        libbpf.run_program(self._sweep, bytes(64))

    def estimate(self) -> None:
        """What the sweeper does every two seconds; only at even ones are all visited at once."""
        libbpf.run_program(self._estimate, bytes(64))


class Chance:
    """What the programs draw (clock.h), for others who must draw the same."""

    def __init__(self, state: int) -> None:
        self._state = state

    def below(self, limit: int) -> int:
        """A number below `limit`, as the programs make one of 32 bits."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (self._state >> 32) * limit >> 32


@contextmanager
def frozen_director(objects: Path) -> Iterator[FrozenDirector]:
    """One over `compile_objects`' objects, in the namespace that we are in; unloaded afterwards.

    Packets with a mark take no detour (engines/bpf/marks.py): a test run has them say theirs.
    """
    with ExitStack() as patches:
        for where, name, instead in (
            (loader, "OBJECTS", objects),
            (tables, "FIRST_SLOTS", SLOTS),
            (marks.Detour, "ensure", lambda *_: False),
        ):
            patches.enter_context(mock.patch.object(where, name, instead))
        engine = BpfEngine()
        resolution = mock.patch.object(time, "clock_getres", return_value=1 / HZ)
        with resolution, pins.writer_lock() as base:
            plane = loader.load(base)
            loader.enable_lookups()
        director = FrozenDirector(engine, plane)
        alone = mock.patch.object(pins.fcntl, "flock")  # other namespaces' writers are no business
        try:
            with alone, mock.patch.object(time, "monotonic_ns", director.monotonic_ns):
                yield director
        finally:
            director.close()
            engine.unload()
