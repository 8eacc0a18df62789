"""The filter of addresses that bpf/filter.h asks first: written here, bit by bit.

A bit is set before the first packet may need it; those that nothing needs any longer are taken
out by `rebuild`. A bit too many costs time, a bit too few would lose packets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from onevip.engines.bpf import shapes
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Limits

U32, U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def bit_of(key: int, address: bytes) -> int:
    """filter_bit() of bpf/filter.h. `address` is 16 bytes; the key is odd."""
    words = struct.unpack("=4I", address)
    folded: int = (words[0] * 3 + words[1] * 5 + words[2] * 7 + words[3]) & U32
    return (folded * key & U64) >> 48


class AddressFilter:
    """The bitmap in the kernel, by 8-byte stores."""

    def __init__(self, words: MappedArray, key: int) -> None:
        self._words = words
        self._key = key

    def __contains__(self, address: bytes) -> bool:
        bit = bit_of(self._key, address)
        return bool(self._words.word(bit >> 6) >> (bit & 63) & 1)

    def add(self, address: bytes) -> None:
        bit = bit_of(self._key, address)
        self._words.set_word(bit >> 6, self._words.word(bit >> 6) | 1 << (bit & 63))

    def rebuild(self, addresses: Iterable[bytes]) -> None:
        """These and no others. What stays set is set at every moment."""
        wanted = [0] * Limits.FILTER_WORDS
        for address in set(addresses):
            bit = bit_of(self._key, address)
            wanted[bit >> 6] |= 1 << (bit & 63)
        for index, word in enumerate(wanted):
            if self._words.word(index) != word:
                self._words.set_word(index, word)


assert shapes.ADDRESS_FILTER.size == Limits.FILTER_WORDS * 8
