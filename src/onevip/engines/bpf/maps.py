"""Maps by their shapes: arrays through a shared mapping, hashes and per-CPU arrays by calls.

A descriptor that is given to one of these is its own, and is closed with it.
Never decides anything. A number is stored at once, so a program sees the old value or the new
one, never half of each.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import weakref
from functools import cache
from typing import Literal

from onevip.engines.bpf import libbpf
from onevip.engines.bpf.shapes import Shape


@cache
def _codec(code: str) -> struct.Struct:
    return struct.Struct(code)


_CODES: tuple[Literal["B", "H", "I", "Q"], ...] = ("B", "H", "I", "Q")


@cache
def _number(code: str) -> tuple[int, int]:
    """Bytes of one number, and how many there are, of a format like =I, >H or =16I."""
    return _codec(f"={code[-1]}").size, int(code[1:-1] or 1)


def _swapped(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "big"), sys.byteorder)


class MappedArray:
    """A BPF_F_MMAPABLE array of one shape, read and, if `writable`, written in place.

    A number is read by one load and written by one store, whatever its size. (struct would clear
    the field first and then fill it byte by byte: for that moment the programs would see nonsense.)
    """

    def __init__(self, fd: int, shape: Shape, entries: int, *, writable: bool = True) -> None:
        self.shape = shape
        self.entries = entries
        self.stride = (shape.size + 7) // 8 * 8
        try:
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(fd, self.stride * entries, mmap.MAP_SHARED, protection)
        finally:
            os.close(fd)  # the mapping has its own
        whole = memoryview(self._map)
        self._numbers: dict[str, memoryview[int]] = {code: whole.cast(code) for code in _CODES}
        self._words = self._numbers["Q"]

    def get(self, index: int, field: str) -> int:
        return self.get_many(index, field)[0]

    def set(self, index: int, field: str, value: int) -> None:
        self.set_item(index, field, 0, value)

    def get_bytes(self, index: int, field: str) -> bytes:
        offset, code = self.shape.fields[field]
        at = index * self.stride + offset
        return self._map[at : at + _codec(code).size]

    def set_bytes(self, index: int, field: str, value: bytes) -> None:
        """Not at once: for what is not in use yet."""
        offset, code = self.shape.fields[field]
        at = index * self.stride + offset
        self._map[at : at + _codec(code).size] = value

    def set_address(self, index: int, field: str, value: bytes) -> None:
        """Sixteen bytes by two stores: of IPv4 addresses only the second changes anything."""
        at = (index * self.stride + self.shape.fields[field].offset) // 8
        for half in (0, 1):
            raw = value[half * 8 : half * 8 + 8]
            self.set_word(at + half, int.from_bytes(raw, sys.byteorder))

    def get_many(self, index: int, field: str) -> tuple[int, ...]:
        """All numbers of a field, each by one load."""
        offset, code = self.shape.fields[field]
        size, count = _number(code)
        first = (index * self.stride + offset) // size
        found = tuple(self._numbers[code[-1]][first : first + count])
        return tuple(_swapped(value, size) for value in found) if code[0] == ">" else found

    def set_many(self, index: int, field: str, values: tuple[int, ...]) -> None:
        """All numbers of a field, one after the other."""
        for at, value in enumerate(values):
            self.set_item(index, field, at, value)

    def set_item(self, index: int, field: str, at: int, value: int) -> None:
        """One number of a field that has several."""
        offset, code = self.shape.fields[field]
        size, _ = _number(code)
        stored = _swapped(value, size) if code[0] == ">" else value
        self._numbers[code[-1]][(index * self.stride + offset) // size + at] = stored

    def word(self, at: int) -> int:
        """The at-th 8 bytes of the whole map."""
        return self._words[at]

    def set_word(self, at: int, value: int) -> None:
        self._words[at] = value

    def column(self, field: str, entries: int | None = None) -> bytes:
        """The lowest byte of a field of the first `entries` values: finds slots by state."""
        offset = self.shape.fields[field].offset
        end = self.stride * (self.entries if entries is None else entries)
        return bytes(memoryview(self._map)[offset : end : self.stride])

    def words(self, offset: int, first: int, entries: int) -> list[int]:
        """The 8-byte word at that offset of `entries` values from `first` on: one load each."""
        step = self.stride // 8
        at = first * step + offset // 8
        return self._words[at : (first + entries) * step : step].tolist()

    def copy(self, first: int, entries: int) -> bytes:
        """`entries` whole values from `first` on."""
        return self._map[first * self.stride : (first + entries) * self.stride]

    def clear(self, index: int) -> None:
        at = index * self.stride
        self._map[at : at + self.stride] = bytes(self.stride)


class Hash:
    """A hash with u32 values."""

    def __init__(self, fd: int, key_size: int) -> None:
        self._fd = fd
        weakref.finalize(self, os.close, fd)
        self._key_size = key_size

    def get(self, key: bytes) -> int | None:
        raw = libbpf.map_lookup(self._fd, key, 4)
        return None if raw is None else int.from_bytes(raw, "little")

    def set(self, key: bytes, value: int) -> None:
        libbpf.map_update(self._fd, key, value.to_bytes(4, "little"))

    def delete(self, key: bytes) -> None:
        libbpf.map_delete(self._fd, key)

    def keys(self) -> list[bytes]:
        return libbpf.map_keys(self._fd, self._key_size)


class PerCpuArray:
    """Counters that every CPU keeps for itself; read as their sum."""

    def __init__(self, fd: int, shape: Shape) -> None:
        self._fd = fd
        weakref.finalize(self, os.close, fd)
        self._shape = shape
        self._cpus = libbpf.possible_cpus()
        self._numbers = len(shape.fields)

    def total(self, index: int) -> tuple[int, ...]:
        """The sum over all CPUs of each field, in the shape's order."""
        raw = libbpf.map_lookup(
            self._fd, index.to_bytes(4, "little"), self._shape.size * self._cpus
        )
        if raw is None:
            return (0,) * self._numbers
        copies = _codec(f"={self._numbers}Q").iter_unpack(raw)
        return tuple(sum(column) for column in zip(*copies, strict=True))
