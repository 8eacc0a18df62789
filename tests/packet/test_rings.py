"""sh, dh and mh: who gets a client, by the rings of schedulers/rings.py walked in Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from onevip.engines.bpf.shapes import Limits
from onevip.model import DataplaneError, Protocol, SchedulerFlag
from onevip.schedulers import ServerList, rings
from packet.choices import Choices
from packet.conftest import Directors
from packet.network import real_address
from packet.wire import CLIENT, VIP

PORT, FALLBACK = SchedulerFlag.PORT, SchedulerFlag.FALLBACK
WAYS = [(scheduler, flags) for scheduler in ("sh", "mh")
        for flags in (SchedulerFlag.NONE, PORT, FALLBACK, PORT | FALLBACK)]  # fmt: skip


@pytest.fixture(scope="module")
def choices(_directors: Directors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Choices]:
    made = Choices(_directors("tc"), tmp_path_factory.mktemp("choices"))
    yield made
    made.close()


def clients(dice: random.Random, number: int) -> Iterator[tuple[str, int]]:
    for _ in range(number):
        bits = dice.choice([32, 128])
        address = ip_address(
            dice.getrandbits(bits) if bits == 32 else 1 << 127 | dice.getrandbits(127)
        )
        yield str(address), dice.randrange(1, 65536)


def by_the_book(
    way: tuple[str, SchedulerFlag], client: tuple[str, int], weights: list[int], able: list[bool]
) -> int:
    """Spec ipvs §4.4 and §4.5, straight; the slot, or -1."""
    (scheduler, flags), (address, port) = way, client
    key = rings.fold(ip_address(address)) + (port if flags & PORT else 0)
    if scheduler == "sh":
        ring, first = rings.source_hash_ring(weights), rings.hash32(key, 8)
        others = [((first + o) % 256 + first) % 256 for o in range(256)]
    else:
        ring = rings.maglev_table(
            [
                (ip_address(real_address(10 + slot)), 80, weight)
                for slot, weight in enumerate(weights)
            ]
        )
        first = rings.maglev_hash(key) % 4093
        others = [
            rings.maglev_hash((first + o) % 4093 + key) % 4093
            for o in range(4093 if flags & FALLBACK and not able[ring[first]] else 0)
        ]
    if ring[first] < 0 or able[ring[first]]:
        return ring[first]
    return next((ring[o] for o in others if able[ring[o]]), -1) if flags & FALLBACK else -1


@pytest.mark.parametrize("size", [1, 5, 26, 27, 300])
@pytest.mark.parametrize(("scheduler", "flags"), WAYS)
def test_a_client_gets_the_kernels_server(
    choices: Choices, scheduler: str, flags: SchedulerFlag, size: int
) -> None:
    dice = random.Random(f"{scheduler} {size}")
    last_weights = [dice.choice([1, 1, 2, 3, 10]) for _ in range(size)]
    weights = [dice.choice([0, weight, weight]) for weight in last_weights]
    choices.build(scheduler, weights, last_weights)
    plane = choices.plane
    plane.services.set(0, "flags", flags)
    able = [True] * size
    shares = last_weights if scheduler == "mh" else weights
    for client, port in clients(dice, 40):
        for slot in range(size):  # without weight but with its places, or overloaded
            overloaded = dice.choice([0, 0, 1])
            plane.real_counts.set(slot, "overloaded", overloaded)
            able[slot] = weights[slot] > 0 and not overloaded
        expected = by_the_book((scheduler, flags), (client, port), shares, able)
        assert choices.look_for(client, VIP, port) == expected


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_nobody_is_able(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [1, 2, 3])
    choices.plane.services.set(0, "flags", FALLBACK)
    for slot in range(3):
        choices.plane.real_counts.set(slot, "overloaded", 1)
    assert choices.look_for(CLIENT, VIP) == -1


def test_nobody_ever_had_weight(choices: Choices) -> None:
    """sh gives places to everybody, mh to nobody; neither chooses anyone."""
    for scheduler in ("sh", "mh"):
        choices.build(scheduler, [0, 0])
        choices.plane.services.set(0, "flags", FALLBACK)
        assert choices.look_for(CLIENT, VIP) == -1


def test_a_port_may_carry_over(choices: Choices) -> None:
    """fold + port is a sum of 32 bits."""
    choices.build("sh", [1] * 256)
    choices.plane.services.set(0, "flags", PORT)
    assert choices.look_for("255.255.255.255", VIP, 2) == rings.hash32(1, 8)
    choices.build("mh", [1] * 100)
    choices.plane.services.set(0, "flags", PORT)
    assert choices.look_for("255.255.255.255", VIP, 2) == choices.look_for("0.0.0.0", VIP, 1)


@pytest.mark.parametrize("size", [1, 3, 300])
def test_a_destination_keeps_its_server(choices: Choices, size: int) -> None:
    dice = random.Random(size)
    choices.build("dh", [dice.randrange(4) for _ in range(size)])
    plane, ring = choices.plane, rings.destination_hash_ring(size)
    for vip, port in clients(dice, 60):
        slot = ring[rings.hash32(rings.fold(ip_address(vip)), 8)]
        overloaded = dice.randrange(4) == 0
        plane.real_counts.set(slot, "overloaded", overloaded)
        able = plane.reals.get(slot, "weight") and not overloaded
        assert choices.look_for(CLIENT, vip, port) == (slot if able else -1)


def test_dh_takes_no_notice_of_clients_and_flags(choices: Choices) -> None:
    choices.build("dh", [1] * 100)
    choices.plane.services.set(0, "flags", PORT | FALLBACK)
    found = {choices.look_for(client, VIP, port) for client, port in clients(random.Random(1), 30)}
    assert len(found) == 1
    choices.plane.real_counts.set(found.pop(), "overloaded", 1)
    assert choices.look_for(CLIENT, VIP) == -1


# Lists and their rings.


def test_mh_keeps_the_places_of_a_server_that_lost_its_weight(choices: Choices) -> None:
    director = choices.director
    director.forget()
    director.add_service("mh")
    for number in (1, 2, 3):
        director.add(real_address(number), weight=number)
    before = ring_of(choices)
    director.edit(real_address(2), weight=0)
    after = ring_of(choices)
    assert after == [slot | Limits.QUIESCENT if slot == 1 else slot for slot in before]
    director.edit(real_address(2), weight=9)
    assert ring_of(choices) != before


def ring_of(choices: Choices, places: int = 4093) -> list[int]:
    plane, first = choices.plane, choices.first_chunk
    after = first + -(-plane.chunks.get(first, "count") // Limits.MEMBERS_PER_CHUNK)
    found: list[int] = []
    for nr in range(-(-places // Limits.RING_PART)):
        found += plane.ring_parts.get_many(after + nr, "real")
    return found[:places]


def test_lists_leave_room_for_rings(choices: Choices) -> None:
    """Services one after the other: nobody writes into another one's ring."""
    director = choices.director
    director.forget()
    choices.plane.settings.set(0, "next_chunk", 1)
    director.add_service("mh")
    for number in (1, 2, 3):
        director.add(real_address(number))
    ring = ring_of(choices)
    assert set(ring) == {0, 1, 2}
    kept = director.service
    director.add_service("rr", Protocol.UDP)
    choices.plane.settings.set(0, "next_chunk", choices.first_chunk + 1)
    for number in range(4, 40):
        director.add(real_address(number))
    director.service = kept
    assert ring_of(choices) == ring


def test_a_chunk_keeps_its_version_under_a_ring(choices: Choices) -> None:
    """A program that holds an old list may still count there, or write what it found."""
    choices.build("wlc", [1] * 60)
    listed = choices.listed()
    publish_at(choices, 100, listed)
    choices.look()
    before = kept(choices, 100)
    publish_at(choices, 99, ServerList("sh", listed.members[:20]))
    assert set(ring_of(choices, 256)) == set(range(20))
    assert kept(choices, 100) == before
    choices.plane.chunks.set(101, "best", 0)
    choices.plane.chunks.set(101, "version", 0)
    assert set(ring_of(choices, 256)) == set(range(20))


def publish_at(choices: Choices, first: int, listed: ServerList) -> None:
    choices.plane.services.set(0, "list", 0)
    choices.plane.settings.set(0, "next_chunk", first)
    choices.publish(listed)
    assert choices.first_chunk == first


def kept(choices: Choices, first: int) -> list[tuple[int, int]]:
    chunks = choices.plane.chunks
    return [(chunks.get(nr, "version"), chunks.get(nr, "best")) for nr in range(first, first + 3)]


def test_more_real_servers_than_places(choices: Choices) -> None:
    choices.build("rr", [1] * 4094)
    listed, before = choices.listed(), choices.first_chunk
    choices.publish(ServerList("mh", listed.members[1:]))
    assert set(ring_of(choices)) == set(range(1, 4094))
    with pytest.raises(DataplaneError, match="mh has 4093 places, fewer than these 4094 real"):
        choices.publish(ServerList("mh", listed.members))
    assert choices.first_chunk != before
    assert len(choices.listed().members) == 4093
