"""Rings of sh, dh and mh: a lookup table from a hash to a member of a service's list. Pure.

Spec ipvs §4.0 and §4.3-4.5. Members are named by their index in list order; NOBODY is -1. The same
list makes the same ring as the kernel's, bit by bit, so that two directors agree on a client.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

NOBODY = -1
BUCKETS = 256  # CONFIG_IP_VS_SH_TAB_BITS and _DH_TAB_BITS: 8
PLACES = 4093  # CONFIG_IP_VS_MH_TAB_INDEX 12, the kernel's default: a prime
MOST_TURNS_BITS = 6  # half of that index: what weights are shifted down to
U32 = 0xFFFFFFFF
U64 = 0xFFFFFFFFFFFFFFFF
# The kernel's fixed keys: halves of a SipHash key are equal.
PLACE_KEY = 2654435761
SKIP_KEY = 2654446892


def fold(address: IPv4Address | IPv6Address) -> int:
    """An address in 32 bits: IPv4 as it is, IPv6's four words XORed. Host order."""
    number = int(address)
    if address.version == 4:
        return number
    return (number >> 96 ^ number >> 64 ^ number >> 32 ^ number) & U32


def hash32(value: int, bits: int) -> int:
    """The kernel's hash_32: the upper `bits` of a 32-bit product."""
    return (value * 0x61C88647 & U32) >> (32 - bits)


def destination_hash_ring(members: int) -> tuple[int, ...]:
    """dh: one bucket each, round and round; weights do not matter."""
    return tuple(place % members if members else NOBODY for place in range(BUCKETS))


def source_hash_ring(weights: Sequence[int]) -> tuple[int, ...]:
    """sh: as many consecutive buckets as each has weight, round and round; at least one.

    Where the weights sum up to more than there are buckets, the last of the list get none.
    """
    ring: list[int] = []
    while weights and len(ring) < BUCKETS:
        for index, weight in enumerate(weights):
            ring += [index] * min(max(1, weight), BUCKETS - len(ring))
    return tuple(ring) or (NOBODY,) * BUCKETS


def maglev_hash(value: int) -> int:
    """mh: the 32-bit hash of a client's fold, whose rest by 4093 is its place."""
    return _hsiphash(value, PLACE_KEY)


def maglev_table(servers: Sequence[tuple[IPv4Address | IPv6Address, int, int]]) -> tuple[int, ...]:
    """mh: who has which of 4093 places, from (address, port, last weight) in list order.

    Servers take turns, as many at a time as their weight tells, at the free places of a sequence
    of their own. One whose weight was never above 0 takes none. Raises ValueError for more servers
    than places.
    """
    if len(servers) > PLACES:
        raise ValueError(f"mh has {PLACES} places, fewer than these {len(servers)} real servers")
    table = [NOBODY] * PLACES
    turns = _turns([last_weight for _, _, last_weight in servers])
    able = [
        (index, *_offset_and_skip(*server[:2]), turns[index])
        for index, server in enumerate(servers)
        if turns[index]
    ]
    left = PLACES if able else 0
    at = {index: offset for index, offset, _, _ in able}
    while left:
        for index, _, skip, times in able:
            place = at[index]
            for _ in range(min(times, left)):
                while table[place] != NOBODY:
                    place = (place + skip) % PLACES
                table[place] = index
                left -= 1
            at[index] = place
    return tuple(table)


def _turns(last_weights: Sequence[int]) -> list[int]:
    """Weights in their lowest terms, and then no more than six bits of them."""
    divisor = math.gcd(*last_weights) or 1
    shift = max(0, (max(last_weights, default=0) // divisor).bit_length() - MOST_TURNS_BITS)
    return [max(1, weight // divisor >> shift) if weight else 0 for weight in last_weights]


@lru_cache(maxsize=1 << 14)  # a server's own, asked for again at every change of its list
def _offset_and_skip(address: IPv4Address | IPv6Address, port: int) -> tuple[int, int]:
    """Where a server's sequence of places begins, and its step."""
    value = fold(address) + port & U32
    return maglev_hash(value) % PLACES, _hsiphash(value, SKIP_KEY) % (PLACES - 1) + 1


def _hsiphash(value: int, key: int) -> int:
    """The kernel's hsiphash_1u32 on 64-bit machines: SipHash-1-3 of four bytes, its low half."""
    v0, v1 = 0x736F6D6570736575 ^ key, 0x646F72616E646F6D ^ key
    v2, v3 = 0x6C7967656E657261 ^ key, 0x7465646279746573 ^ key
    block = 4 << 56 | value & U32  # the length stands in the last byte
    v3 ^= block
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v2 = v0 ^ block, v2 ^ 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return (v0 ^ v1 ^ v2 ^ v3) & U32


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = v0 + v1 & U64
    v1 = _left(v1, 13) ^ v0
    v0 = _left(v0, 32)
    v2 = v2 + v3 & U64
    v3 = _left(v3, 16) ^ v2
    v0 = v0 + v3 & U64
    v3 = _left(v3, 21) ^ v0
    v2 = v2 + v1 & U64
    v1 = _left(v1, 17) ^ v2
    return v0, v1, _left(v2, 32), v3


def _left(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & U64
