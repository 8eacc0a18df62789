"""A writer that is killed at any store: packets see the old list or the new one, nothing between.

The next writer frees what hangs loose, and has everything watched that must be.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest

from onevip.engines.bpf import libbpf, pins
from onevip.engines.bpf.maps import Hash, MappedArray
from onevip.engines.bpf.rows import MEMBERS
from onevip.engines.bpf.shapes import Limits, SlotState
from onevip.engines.bpf.writer import KEEPING, Writer
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Protocol,
    RealServer,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    Table,
    TableError,
)
from onevip.schedulers import Member, rings
from packet.conftest import Directors
from packet.network import real_address
from packet.wire import CLIENT, FOREVER, MASQ, SKB_IFINDEX, SKB_SIZE, VIP, Director, eth, ip4, tcp

WEB, MAIL = (ServiceKey(Protocol.TCP, IPv4Address(VIP), port) for port in (80, 25))
SIZES = [1, 30, 60]
PLACES = {"sh": rings.BUCKETS, "dh": rings.BUCKETS, "mh": rings.PLACES}
NUMBERS = count()


class Killed(BaseException):
    """The end of a writer."""


@contextmanager
def killed_at(store: int) -> Iterator[None]:
    """The writer's next so many stores are done, the one after them never."""
    stores = count()

    def mortal(method: Callable[..., None]) -> Callable[..., None]:
        def stored(self: Any, *arguments: Any) -> None:
            if next(stores) == store:
                raise Killed
            method(self, *arguments)

        return stored

    with pytest.MonkeyPatch.context() as patch:
        for name in ("set", "set_bytes", "set_many", "clear"):
            patch.setattr(MappedArray, name, mortal(getattr(MappedArray, name)))
        for name in ("set", "delete"):
            patch.setattr(Hash, name, mortal(getattr(Hash, name)))
        yield


def server(number: int, weight: int = 1) -> RealServer:
    return RealServer(IPv4Address(real_address(10 + number)), 80, MASQ, weight)


class Bench:
    """A table that is put back as it was, as often as one likes."""

    MAPS = ("services", "reals", "real_counts", "chunks", "settings")

    def __init__(self, director: Director) -> None:
        self.director = director
        self.plane = director.plane
        self.syn = bytes(eth() / ip4(CLIENT, VIP) / tcp(0, 80, "S"))
        self.context = bytearray(SKB_SIZE)
        struct.pack_into("=I", self.context, SKB_IFINDEX, socket.if_nametoindex("front"))

    def build(self, scheduler: str, size: int) -> None:
        self.director.forget()
        self.director.set_timeouts(FOREVER)
        self.director.apply(AddService(WEB, scheduler))
        self.director.apply(*(AddRealServer(WEB, server(n)) for n in range(size)))
        self.seen(WEB)  # the ways are found
        for slot in range(size):
            self.plane.real_counts.set(slot, "counts", 0)
        self.plane.services.set(0, "position", 0)
        self._kept = {name: bytes(getattr(self.plane, name)._map) for name in self.MAPS}
        self._named = self.names()

    def restore(self) -> None:
        for name, raw in self._kept.items():
            getattr(self.plane, name)._map[:] = raw
        ids = self.plane.service_ids
        for key in self.names():
            ids.delete(key)
        for key, index in self._named.items():
            ids.set(key, index)

    def names(self) -> dict[bytes, int]:
        keys = self.plane.service_ids.keys()
        return {key: self.plane.service_ids.get(key) or 0 for key in keys}

    def apply(self, *changes: Change) -> None:
        """Several: in force together."""
        with pins.writer_lock(), Writer(self.plane).at_work() as writer:
            writer.apply(changes)

    def table(self) -> Table:
        return self.director.engine.read()

    def seen(self, service: ServiceKey) -> list[str]:
        """Who gets the next connections, a round of them; what else becomes of a packet."""
        found: list[str] = []
        for _ in range(SIZES[-1] + 1):
            number, syn = next(NUMBERS), bytearray(self.syn)
            struct.pack_into(">H", syn, 28, 64 << 8 | number >> 14)  # client 10.0.64.0/18
            struct.pack_into(">HH", syn, 34, 1024 + (number & 0x3FFF), service.port)
            verdict, out, _ = libbpf.run_program(
                self.director._program, bytes(syn), context=bytes(self.context)
            )
            is_sent = out[30:34] != syn[30:34] and len(out) == len(syn)
            found.append(str(IPv4Address(out[30:34])) if is_sent else f"verdict {verdict}")
        return found

    def ring(self) -> tuple[tuple[Member, ...], list[int]]:
        """The members of the list in force, and the places behind it."""
        listed, first = Writer(self.plane).list_of(0), self.plane.services.get(0, "list")
        first += -(-len(listed.members) // MEMBERS)
        parts = -(-PLACES[listed.scheduler] // Limits.RING_PART)
        places = [
            place
            for nr in range(parts)
            for place in self.plane.ring_parts.get_many(first + nr, "real")
        ]
        return listed.members, places

    # What must be so when a writer has come to its end.

    def assert_nothing_hangs_loose(self) -> None:
        plane, writer = self.plane, Writer(self.plane)
        used = range(plane.settings.get(0, "services_used"))
        in_use = set(self.names().values())
        assert plane.settings.get(0, "writing") == 0
        assert {i for i in used if plane.services.get(i, "state") != SlotState.SLOT_FREE} == in_use
        assert {i for i in used if plane.services.get(i, "list")} == in_use
        lists = {index: writer.list_of(index) for index in in_use}
        listed = {member.real for one in lists.values() for member in one.members}
        slots = range(plane.settings.get(0, "reals_used"))
        states = {slot: plane.reals.get(slot, "state") for slot in slots}
        assert {slot for slot in slots if states[slot] == SlotState.SLOT_USED} == listed
        for index, one in lists.items():
            first = plane.services.get(index, "list")
            is_watched = len(one.members) > MEMBERS and one.scheduler in KEEPING
            assert plane.chunks.get(first, "watched") == is_watched
            for at, member in enumerate(one.members):
                expected = first + at // MEMBERS if is_watched else 0
                assert plane.real_counts.get(member.real, "chunk") == expected

    def places_used(self) -> tuple[int, int]:
        settings = self.plane.settings
        return settings.get(0, "reals_used"), settings.get(0, "services_used")


@pytest.fixture
def bench(_directors: Directors) -> Bench:
    return Bench(_directors("tc"))


@dataclass(frozen=True)
class Case:
    """A change to a service with so many real servers, and what it changes packets of."""

    change: Callable[[int], Change | tuple[Change, ...]]
    service: ServiceKey = WEB

    def __call__(self, size: int) -> tuple[Change, ...]:
        change = self.change(size)
        return change if isinstance(change, tuple) else (change,)


CASES = {
    "add a real server": Case(lambda size: AddRealServer(WEB, server(size))),
    "give one no weight": Case(lambda size: EditRealServer(WEB, server(size // 2, 0))),
    "delete a real server": Case(lambda size: DeleteRealServer(WEB, server(size // 2).key)),
    "add a service": Case(lambda _: AddService(MAIL, "wlc"), MAIL),
    "edit a service": Case(lambda _: EditService(WEB, "sed")),
    "add a persistent service": Case(
        lambda _: AddService(MAIL, "mh", ServiceOptions(SchedulerFlag.PORT, persistent_s=60)), MAIL
    ),
    "give one thresholds": Case(
        lambda size: EditRealServer(WEB, replace(server(size // 2), upper_threshold=1000))
    ),
    "delete a service": Case(lambda _: DeleteService(WEB)),
    "add several": Case(
        lambda size: tuple(AddRealServer(WEB, server(size + n, n)) for n in (1, 2, 3))
    ),
    "delete several": Case(
        lambda size: tuple(DeleteRealServer(WEB, server(n).key) for n in range(0, size, 7))
    ),
    "give several weight": Case(
        lambda size: tuple(EditRealServer(WEB, server(n, n + 2)) for n in range(0, size, 7))
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheduler", ["rr", "wlc"])
@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_store(bench: Bench, name: str, scheduler: str, size: int) -> None:
    case = CASES[name]
    changes = case(size)
    bench.build(scheduler, size)
    old = bench.seen(case.service)
    bench.restore()
    bench.apply(*changes)
    table, places = bench.table(), bench.places_used()
    new = bench.seen(case.service)
    killed = 0
    while True:
        bench.restore()
        try:
            with killed_at(killed):
                bench.apply(*changes)
            break
        except Killed:
            killed += 1
        kept = {at: bytes(getattr(bench.plane, at)._map) for at in ("services", "real_counts")}
        assert bench.seen(case.service) in (old, new), f"killed at store {killed}"
        for at, raw in kept.items():  # without the connections that were made to see
            getattr(bench.plane, at)._map[:] = raw
        with suppress(TableError):  # the next writer: it may be done already
            bench.apply(*changes)
        bench.assert_nothing_hangs_loose()
        assert bench.table() == table
        assert bench.places_used() == places
        assert sorted(bench.seen(case.service)) == sorted(new)
    print(f"{killed} stores")
    assert killed > 5


RING_EDITS = {
    "add a real server": lambda: AddRealServer(WEB, server(30)),
    "give one no weight": lambda: EditRealServer(WEB, server(15, 0)),
    "give one more weight": lambda: EditRealServer(WEB, server(15, 9)),
    "delete a real server": lambda: DeleteRealServer(WEB, server(15).key),
}


@pytest.mark.parametrize("scheduler", ["sh", "dh", "mh"])
@pytest.mark.parametrize("name", RING_EDITS)
def test_a_ring_is_always_that_of_its_list(bench: Bench, name: str, scheduler: str) -> None:
    """Whoever finds the list finds the ring that was made for it, weights and all."""
    bench.build(scheduler, 30)
    old = bench.ring()
    bench.apply(RING_EDITS[name]())
    new = bench.ring()
    assert old[0] != new[0]
    killed = 0
    while True:
        bench.restore()
        try:
            with killed_at(killed):
                bench.apply(RING_EDITS[name]())
            break
        except Killed:
            killed += 1
        assert bench.ring() in (old, new), f"killed at store {killed}"
        with suppress(TableError):
            bench.apply(RING_EDITS[name]())
        bench.assert_nothing_hangs_loose()
        assert bench.ring() == new
        for member in new[0]:
            assert bench.plane.reals.get(member.real, "weight") == member.weight
    assert killed > 5


@pytest.mark.parametrize("stores", [10, 30, 60])
def test_a_service_keeps_the_totals_of_a_server_whose_delete_was_killed(
    bench: Bench, stores: int
) -> None:
    """The list in force is being watched, or not yet the new one."""
    bench.build("wlc", 60)
    before = bench.director.counters(None).connections
    assert before > 60
    with suppress(Killed), killed_at(stores):
        bench.apply(DeleteRealServer(WEB, server(7).key))
    with suppress(TableError):
        bench.apply(DeleteRealServer(WEB, server(7).key))
    assert len(bench.table().services[WEB].real_servers) == 59
    assert bench.director.counters(None).connections == before


@pytest.mark.parametrize("upper", [0, 9])
def test_an_overload_ends_with_its_threshold_though_the_writer_was_killed(
    bench: Bench, upper: int
) -> None:
    """Raised or taken away; the same edit again finds the threshold as it wants it."""
    bench.build("rr", 1)
    edited = RealServer(server(0).address, 80, MASQ, 1, upper)
    for killed in count():
        bench.restore()
        bench.apply(EditRealServer(WEB, RealServer(server(0).address, 80, MASQ, 1, 1)))
        bench.plane.real_counts.set(0, "overloaded", 1)
        try:
            with killed_at(killed):
                bench.apply(EditRealServer(WEB, edited))
            break
        except Killed:
            bench.apply(EditRealServer(WEB, edited))
        assert not bench.plane.real_counts.get(0, "overloaded"), f"killed at store {killed}"
    assert killed > 5


def test_a_server_that_comes_back_takes_its_totals_along_once(bench: Bench) -> None:
    """Whatever became of the writer before."""
    bench.build("rr", 2)
    back = server(1)
    for killed in count():
        bench.restore()
        bench.apply(DeleteRealServer(WEB, back.key))
        before = bench.director.counters(None).connections
        try:
            with killed_at(killed):
                bench.apply(AddRealServer(WEB, back))
            break
        except Killed:
            with suppress(TableError):
                bench.apply(AddRealServer(WEB, back))
        assert bench.director.counters(None).connections == before, f"killed at store {killed}"
    assert killed > 5


def test_an_edit_that_was_killed_leaves_nothing_by_halves(bench: Bench) -> None:
    """What its entry says of a real server and what its list says are mended to be the same."""
    bench.build("rr", 1)
    edited = RealServer(server(0).address, 80, MASQ, 0, 5, 2)
    for killed in count():
        bench.restore()
        try:
            with killed_at(killed):
                bench.apply(EditRealServer(WEB, edited))
            break
        except Killed:
            bench.apply(AddService(MAIL, "rr"))  # the next writer, busy elsewhere
        plane, writer = bench.plane, Writer(bench.plane)
        (member,) = writer.list_of(writer.service_index(WEB)).members
        head = plane.services.get(writer.service_index(WEB), "list")
        assert plane.reals.get(member.real, "weight") == member.weight
        is_limited = plane.reals.get(member.real, "upper") > 0
        assert plane.real_counts.get(member.real, "limited") == is_limited
        assert plane.chunks.get(head, "limited") == is_limited
    assert killed > 5


def test_killed_thousands_of_times_no_place_is_lost(bench: Bench) -> None:
    """Changes of all kinds, each killed somewhere; at the end there is room for as much as ever."""
    dice = random.Random(1)
    bench.build("wlc", 60)
    bench.apply(AddService(MAIL, "wlc"))
    bench.apply(AddRealServer(MAIL, server(0)))
    deaths = 0
    for _ in range(4000):
        service, number = dice.choice([WEB, WEB, WEB, MAIL]), dice.randrange(60)
        change: Change = dice.choice(
            [
                AddRealServer(service, server(number, dice.randrange(3))),
                EditRealServer(service, server(number, dice.randrange(3))),
                DeleteRealServer(service, server(number).key),
                EditService(service, dice.choice(["rr", "wrr", "lc", "wlc"])),
                *([AddService(service, "wlc"), DeleteService(service)] if service == MAIL else []),
            ]
        )
        with suppress(TableError):
            try:
                with killed_at(dice.randrange(dice.choice([10, 150]))):
                    bench.apply(change)
            except Killed:
                deaths += 1
    bench.apply(EditService(WEB, "wlc"))
    for number in range(60, 90):
        bench.apply(AddRealServer(WEB, server(number)))
    bench.assert_nothing_hangs_loose()
    assert deaths > 1000
    reals, services = bench.places_used()
    assert services <= 2
    assert reals <= 2 * 60 + 30
    for edit in range(Limits.MAX_CHUNKS // 3 + 100):  # every chunk is taken once more
        bench.apply(EditRealServer(WEB, server(edit % 2 + 70, edit % 3)))
    bench.assert_nothing_hangs_loose()
    print(f"{deaths} deaths, {reals} places for real servers")
