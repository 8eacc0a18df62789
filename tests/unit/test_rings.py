"""Rings of sh, dh and mh against the kernel's (spec ipvs §12.1)."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onevip.schedulers import rings

# client, fold, bucket of 256, the same with port 40000, chain of 1024, mh's hash, place of 4093,
# the same with port 40000
VECTORS = [
    ("10.0.0.1", 0x0A000001, (39, 203, 159, 0x03080CE4, 3711, 2940)),
    ("10.0.0.2", 0x0A000002, (137, 45, 550, 0x41CFDE13, 1884, 273)),
    ("192.168.1.100", 0xC0A80164, (89, 253, 357, 0xC15D2CF8, 1341, 1689)),
    ("203.0.113.7", 0xCB007107, (124, 32, 499, 0xA86E2C15, 1705, 2964)),
    ("2001:db8::1", 0x20010DB9, (63, 226, 252, 0xCDC3F189, 3457, 3517)),
]
THREE = [
    (ip_address("10.1.0.3"), 80, 1),
    (ip_address("10.1.0.2"), 80, 1),
    (ip_address("10.1.0.1"), 80, 2),
]


@pytest.mark.parametrize(("client", "fold", "expected"), VECTORS)
def test_the_kernels_hashes(client: str, fold: int, expected: tuple[int, ...]) -> None:
    bucket, with_port, chain, hashed, place, place_with_port = expected
    assert rings.fold(ip_address(client)) == fold
    assert rings.hash32(fold, 8) == bucket
    assert rings.hash32(fold + 40000, 8) == with_port
    assert rings.hash32(fold, 10) == chain
    assert rings.maglev_hash(fold) == hashed
    assert rings.maglev_hash(fold) % rings.PLACES == place
    assert rings.maglev_hash(fold + 40000) % rings.PLACES == place_with_port


def test_hashes_are_of_32_bits() -> None:
    """fold + port runs over at the end of the address space."""
    assert rings.hash32(0x1_0A000001, 8) == rings.hash32(0x0A000001, 8)
    assert rings.maglev_hash(0x1_0A000001) == rings.maglev_hash(0x0A000001)


def test_the_kernels_maglev_table() -> None:
    table = rings.maglev_table(THREE)
    assert table[:24] == tuple(map(int, "002201220212022202011211"))
    assert Counter(table) == {0: 1024, 1: 1023, 2: 2046}
    chosen = [table[rings.maglev_hash(rings.fold(ip_address(text))) % rings.PLACES]
              for text in ("10.0.0.1", "10.0.0.2", "192.168.1.100")]  # fmt: skip
    assert chosen == [2, 2, 1]


def test_the_kernels_offsets_and_skips() -> None:
    found = [rings._offset_and_skip(address, port) for address, port, _ in THREE]
    assert found == [(2424, 45), (2769, 572), (310, 1461)]


def test_dh_gives_one_bucket_each_in_turn() -> None:
    assert rings.destination_hash_ring(3)[:7] == (0, 1, 2, 0, 1, 2, 0)
    assert rings.destination_hash_ring(300) == tuple(range(256))
    assert rings.destination_hash_ring(0) == (-1,) * 256


def test_sh_gives_as_many_buckets_as_weight() -> None:
    ring = rings.source_hash_ring([2, 0, 3])
    assert ring[:8] == (0, 0, 1, 2, 2, 2, 0, 0)
    assert rings.source_hash_ring([200, 100, 1]) == (0,) * 200 + (1,) * 56
    assert rings.source_hash_ring([0] * 300) == tuple(range(256))
    assert rings.source_hash_ring([]) == (-1,) * 256


@pytest.mark.parametrize(
    ("last_weights", "turns"),
    [
        ([1, 1, 2], [1, 1, 2]),
        ([10, 20], [1, 2]),
        ([0, 3, 9], [0, 1, 3]),
        ([63, 1], [63, 1]),
        ([64, 1], [32, 1]),  # shifted down, but nobody to nothing
        ([65535, 40000, 1], [63, 39, 1]),
        ([0, 0], [0, 0]),
        ([], []),
    ],
)
def test_turns_are_weights_of_six_bits(last_weights: list[int], turns: list[int]) -> None:
    assert rings._turns(last_weights) == turns


def test_nobody_ever_had_weight() -> None:
    assert rings.maglev_table([]) == (-1,) * 4093
    assert rings.maglev_table([(ip_address("10.1.0.1"), 80, 0)]) == (-1,) * 4093


def test_more_servers_than_places() -> None:
    servers = [(ip_address(0x0A010000 + number), 80, 1) for number in range(4093)]
    assert set(rings.maglev_table(servers)) == set(range(4093))
    with pytest.raises(ValueError, match="4093 places, fewer than these 4094"):
        rings.maglev_table([*servers, (ip_address("10.2.0.1"), 80, 1)])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_every_place_has_a_server_with_weight(last_weights: list[int]) -> None:
    servers = [(ip_address(0x0A010000 + n), 80, w) for n, w in enumerate(last_weights)]
    shares = Counter(rings.maglev_table(servers))
    able = {index for index, weight in enumerate(last_weights) if weight}
    assert set(shares) == (able or {-1})
    turns = rings._turns(last_weights)
    for index in able:
        assert abs(shares[index] - 4093 * turns[index] / sum(turns)) <= turns[index]
