"""The tables of connections: how full they may be, who makes room, how one grows out of another."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from itertools import cycle
from pathlib import Path

import pytest

from onevip.engines.bpf import BpfEngine, libbpf, pins, tables
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.filter import AddressFilter
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Limits, TcpState
from onevip.engines.bpf.tables import Step
from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    DataplaneError,
    DeleteService,
    Protocol,
    RealServer,
    ServiceKey,
)
from packet.conftest import Directors
from packet.inserting import ACTIVE, CLOSING, ESTABLISHED, HALF_OPEN, TEMPLATE, Inserter
from packet.test_connections import from_client, from_real, known, syn, within
from packet.test_stress import assert_counters_equal_contents, back_to_one_table, crowd
from packet.wire import CLIENT, DROPPED, FOREVER, GATE, MASQ, REAL, VIP, Director, eth, ip4, tcp

HALF = tables.FIRST_SLOTS // 2


@pytest.fixture
def tc(_directors: Directors) -> Iterator[Director]:
    """A director whose connections never end, and whose tables are as after loading again."""
    director = _directors("tc")
    director.add_service("rr")
    director.add(REAL, GATE)
    director.set_timeouts(FOREVER)
    yield director
    back_to_one_table(director)


@pytest.fixture(scope="module")
def _inserter(
    _directors: Directors, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inserter]:
    made = Inserter(_directors("tc").plane, tmp_path_factory.mktemp("insert"))
    yield made
    made.close()


@pytest.fixture
def inserter(tc: Director, _inserter: Inserter) -> Inserter:
    return _inserter


# How full.


def test_a_table_begins_small(tc: Director) -> None:
    room = tc.plane.tables.room()
    assert room.slots == (131_072,)
    assert room.memory_bytes == 8 << 20
    assert room.limit == 1 << 20


def test_half_full_there_is_a_place_for_all_but_one_in_ten_thousand(
    tc: Director, inserter: Inserter
) -> None:
    said = inserter.insert(HALF)
    assert said.get("no place", 0) < HALF / 10_000
    assert inserter.found(HALF) == said["inserted"]
    assert_counters_equal_contents(tc)


def test_entries_stay_found_while_others_around_them_end(tc: Director, inserter: Inserter) -> None:
    """Of those that lie away from home too: the home's overflow count follows."""
    inserter.insert(HALF)
    inserter.insert(HALF, client="10.1.64.0", bits=CLOSING)
    timeouts = [FOREVER] * 16
    timeouts[TcpState.TCP_TIME_WAIT] = 1
    tc.plane.settings.set_many(0, "tcp_timeout", tuple(timeouts))
    assert within(5, lambda: tc.counters().inactive == 0)
    assert inserter.found(HALF) == tc.counters().active == tc.connections()
    census = assert_counters_equal_contents(tc)
    assert census.overflow.total() > 100


def test_one_client_port_reaches_twenty_four_services(tc: Director, inserter: Inserter) -> None:
    """A client's port is one hash for all services: three buckets of eight."""
    for port in range(8000, 8024):
        assert inserter.insert(1, vip_port=port) == {"inserted": 1}
    assert all(inserter.found(1, vip_port=port) for port in range(8000, 8024))
    assert inserter.insert(1, vip_port=8024) == {"no place": 1}
    assert_counters_equal_contents(tc)


def test_one_client_has_any_number_of_templates(tc: Director, inserter: Inserter) -> None:
    bits = TEMPLATE
    assert inserter.insert(256, client_port=0, bits=bits) == {"inserted": 256}
    assert inserter.found(256, client_port=0, bits=bits) == 256
    assert inserter.insert(256, client_port=0, bits=bits) == {"exists": 256}
    assert inserter.found(256, client_port=0) == 0, "a packet from port 0 is no template"


def test_ipv4_and_ipv6_lie_in_one_table(tc: Director, inserter: Inserter) -> None:
    ends = {"client": "2001:db8::1:0", "vip": "2001:db8::80"}
    assert inserter.insert(1000, **ends) == {"inserted": 1000}
    assert inserter.insert(1000) == {"inserted": 1000}
    assert inserter.found(1000, **ends) == inserter.found(1000) == 1000
    assert inserter.found(1000, client="2001:db8::1:0", vip="2001:db8::81") == 0


# When it is full. All clients of one port share three buckets here: 24 connections.


def settled(tc: Director, inserter: Inserter, clients: list[int]) -> None:
    """These, each seen one clock unit after the one before; the rest of the 24 established."""
    crowd(tc)
    inserter.insert(24 - len(clients), client="10.9.0.0")
    for number, bits in enumerate(clients):
        time.sleep(tc.clock_unit_s)
        assert inserter.insert(1, first=number, bits=bits) == {"inserted": 1}


def alive(inserter: Inserter, count: int) -> list[bool]:
    return [bool(inserter.found(1, first=number)) for number in range(count)]


def arrives(tc: Director, port: int = 40000) -> str:
    return tc(syn(port)).name


def test_the_oldest_inactive_connection_makes_room(tc: Director, inserter: Inserter) -> None:
    settled(tc, inserter, [HALF_OPEN, CLOSING, CLOSING])
    with tc.counted(new_connections=1, gate=1, evicted_inactive=1):
        assert arrives(tc) == "forwarded"
    assert alive(inserter, 3) == [True, False, True]
    assert_counters_equal_contents(tc)


def test_an_expired_connection_is_the_first_to_go(tc: Director, inserter: Inserter) -> None:
    """Before an older inactive one. What the sweeper would have ended counts as nobody's loss."""
    settled(tc, inserter, [CLOSING, HALF_OPEN])
    timeouts = [FOREVER] * 16
    timeouts[TcpState.TCP_SYN_RECV] = 0
    with tc.counted(new_connections=1, gate=1):
        tc.plane.settings.set_many(0, "tcp_timeout", tuple(timeouts))
        name = arrives(tc)
        timeouts[TcpState.TCP_SYN_RECV] = FOREVER
        tc.plane.settings.set_many(0, "tcp_timeout", tuple(timeouts))
    assert name == "forwarded"
    assert alive(inserter, 2) == [True, False]


def test_then_the_oldest_half_open_one(tc: Director, inserter: Inserter) -> None:
    settled(tc, inserter, [HALF_OPEN, HALF_OPEN])
    with tc.counted(new_connections=1, gate=1, evicted_half_open=1):
        assert arrives(tc) == "forwarded"
    assert alive(inserter, 2) == [False, True]


def test_never_an_established_one(tc: Director, inserter: Inserter) -> None:
    settled(tc, inserter, [ESTABLISHED] * 2)
    with tc.counted(table_full=1):
        assert tc(syn()) == DROPPED
    assert alive(inserter, 2) == [True, True]
    assert_counters_equal_contents(tc)


@contextmanager
def a_template_among_them(tc: Director, *, state: int, under: int) -> Iterator[int]:
    """Writes the map: one of 24 established connections looks like a template. Its slot."""
    used = tc._connections
    slot = next(at for at in tc._live() if at % Limits.WAYS)
    control, word = used.get(slot, "control"), used.get(slot, "word")
    used.set(slot, "word", under << 24 | 1000)
    used.set(slot, "control", control & ~(15 << 4 | ACTIVE) | state << 4 | TEMPLATE)
    real = used.get(slot, "real")
    counts = tc.plane.real_counts
    counts.set(real, "counts", counts.get(real, "counts") - (1 << 32))
    counts.set(real, "persistent", 1)
    yield slot
    if used.get(slot, "control") & TEMPLATE:
        used.set(slot, "word", word)
        used.set(slot, "control", control)
        counts.set(real, "counts", counts.get(real, "counts") + (1 << 32))
        counts.set(real, "persistent", 0)


@pytest.mark.parametrize(("state", "under"), [(1, 0), (0, 1), (1, 1)])
def test_nor_a_template_that_is_meant(
    tc: Director, inserter: Inserter, state: int, under: int
) -> None:
    """A connection of it was established, or is under it still."""
    crowd(tc)
    inserter.insert(24, client="10.9.0.0")
    with a_template_among_them(tc, state=state, under=under), tc.counted(table_full=1):
        assert tc(syn()) == DROPPED


def test_but_one_that_a_flood_left_behind(tc: Director, inserter: Inserter) -> None:
    """Its only connection never came further than its SYN, and has gone."""
    crowd(tc)
    inserter.insert(24, client="10.9.0.0")
    with a_template_among_them(tc, state=0, under=0):
        with tc.counted(new_connections=1, gate=1, evicted_half_open=1):
            assert arrives(tc) == "forwarded"
        assert tc.counters().persistent == 0
    assert_counters_equal_contents(tc)


def test_a_flood_of_syns_leaves_the_established_alone(tc: Director, inserter: Inserter) -> None:
    crowd(tc)
    kept = range(30, 40)
    for port in kept:
        tc(syn(port))
        tc(from_client("A", port))
    established = tc.counters().active
    for number in range(200):  # clients of the same buckets as the first
        tc(eth() / ip4(f"10.0.64.{number}", VIP, ttl=64) / tcp(30, 80, "S"))
    assert tc.counters().active >= established
    assert {known(tc, port).state for port in kept} == {TcpState.TCP_ESTABLISHED}
    assert tc.engine.door_counters()["tc"]["evicted_half_open"] > 100
    assert_counters_equal_contents(tc)


# Growing.


def test_what_was_open_is_found_while_the_table_grows(tc: Director) -> None:
    xdp = Director(tc.engine, tc.plane, "xdp")
    tc.edit(REAL, MASQ)
    for port in (1, 2, 3):
        tc(syn(port))
    assert tc.plane.tables.grow()
    room = tc.plane.tables.room()
    assert room.slots == (2 << 20, 131_072)
    assert room.memory_bytes == (128 + 8) << 20
    for director in (tc, xdp):
        with director.counted(masq=3, replies=3):
            for port in (1, 2, 3):
                director(from_client("A", port))
                director(from_real("A", REAL, port))
    assert tc.active_inactive() == (3, 0)


def test_new_connections_go_to_the_new_table_and_old_ones_never_twice(
    tc: Director, inserter: Inserter
) -> None:
    assert inserter.insert(1000) == {"inserted": 1000}
    tc.plane.tables.grow()
    assert inserter.insert(2000) == {"exists": 1000, "inserted": 1000}
    new, old = tc.plane.tables.open()
    assert live_in(new) == live_in(old) == 1000
    assert inserter.found(2000) == 2000
    assert tc.counters().active == 2000


def live_in(table: MappedArray) -> int:
    return sum(byte & 3 == 2 for byte in table.column("control"))


def test_the_old_table_goes_when_it_is_empty(tc: Director, inserter: Inserter) -> None:
    inserter.insert(1000)
    tc.plane.tables.grow()
    inserter.insert(1000, first=1000, bits=CLOSING)
    assert not tc.plane.tables.retire(), "connections are in it"
    timeouts = [FOREVER] * 16
    timeouts[TcpState.TCP_ESTABLISHED] = 1
    tc.plane.settings.set_many(0, "tcp_timeout", tuple(timeouts))
    assert within(5, lambda: tc.counters().active == 0)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.RETIRE)
    assert tc.plane.tables.retire()
    assert tc.plane.tables.room().slots == (2 << 20,)
    assert not (tc.plane.path / "maps" / "connections-0").exists()
    assert inserter.found(1000, first=1000) == 1000
    assert tc.counters().inactive == 1000


def test_the_sweeper_works_in_both_tables(tc: Director, inserter: Inserter) -> None:
    inserter.insert(500, bits=CLOSING)
    tc.plane.tables.grow()
    inserter.insert(500, first=500, bits=CLOSING)
    assert within(5, lambda: tc.plane.tables.room().live == (500, 500))
    tc.set_timeouts(1)
    assert within(5, lambda: tc.counters().inactive == 0)


def test_it_grows_by_itself_before_it_is_half_full(tc: Director, inserter: Inserter) -> None:
    assert tc.engine.make_room() == []
    inserter.insert(HALF * 6 // 10 + 1000)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.GROW)
    assert "2,097,152 slots (128 MiB)" in tc.engine.make_room()[0]
    assert len(tc.plane.tables.room().slots) == 2
    assert tc.engine.make_room() == []


def test_any_edit_makes_room_when_there_is_no_daemon(tc: Director, inserter: Inserter) -> None:
    inserter.insert(HALF)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.GROW)
    tc.edit(REAL, GATE, weight=2)
    assert tc.plane.tables.room().slots == (2 << 20, 131_072)


def test_it_goes_back_when_it_has_been_small_for_long(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tc.plane.tables.grow()
    assert tc.plane.tables.retire()
    inserter.insert(100)
    assert within(5, lambda: tc.plane.tables.room().live == (100,))
    assert tc.engine.make_room() == []
    monkeypatch.setattr("onevip.engines.bpf.engine.SHRINK_AFTER_S", -1.0)
    assert tc.engine.make_room()
    assert tc.plane.tables.room().slots == (131_072, 2 << 20)
    assert inserter.found(100) == 100


def test_nothing_grows_above_the_limit(tc: Director, inserter: Inserter) -> None:
    tc.plane.tables.set_limit(60_000)
    inserter.insert(HALF)
    time.sleep(1.2)
    assert tc.plane.tables.room().step() is Step.NONE
    assert not tc.plane.tables.grow()


@pytest.mark.parametrize("connections", [0, -1, (1 << 24) + 1])
def test_a_limit_has_limits(tc: Director, connections: int) -> None:
    with pytest.raises(DataplaneError, match="from 1 to 16777216"):
        tc.plane.tables.set_limit(connections)


def test_a_million_connections_fit(tc: Director, inserter: Inserter) -> None:
    """The limit is reached, and nobody is refused."""
    tc.plane.tables.grow()
    said = inserter.insert(1 << 20)
    assert said.get("no place", 0) < (1 << 20) / 10_000
    assert inserter.found(1 << 20) == said["inserted"]
    assert within(8, lambda: tc.plane.tables.room().live[0] == said["inserted"])


# Its limit, and what is told of it.


def retired(tc: Director) -> bool:
    """The old table's connections end, and it goes."""
    tc.set_timeouts(1)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.RETIRE)
    tc.set_timeouts(FOREVER)
    return tc.plane.tables.retire()


def test_a_limit_that_is_raised_after_growing_makes_it_grow_again(
    tc: Director, inserter: Inserter
) -> None:
    tc.engine.set_limit(100_000)
    tc.engine.grow()
    assert tc.plane.tables.retire()
    assert tc.plane.tables.room().slots == (262_144,)
    inserter.insert(90_000)
    assert within(5, lambda: tc.plane.tables.room().live[0] > 78_643)
    assert tc.engine.make_room() == []
    grown = tc.engine.set_limit(1 << 20)
    assert [table.slots for table in grown.tables] == [2 << 20, 262_144], "it asks for it"
    assert inserter.insert(180_000) == {"exists": 90_000, "inserted": 90_000}
    tc.engine.set_limit(1 << 22)
    assert tc.engine.make_room() == [], "two tables at most"
    assert tc.plane.tables.room().slots == (2 << 20, 262_144)
    assert retired(tc)
    assert tc.engine.make_room() == []
    assert tc.plane.tables.room().slots == (2 << 20,), "no load asks for it"
    assert tc.engine.grow().tables[0].slots == 8 << 20


def test_a_limit_that_is_lowered_takes_nothing_away(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tc.engine.grow()
    assert tc.plane.tables.retire()
    inserter.insert(20_000)
    assert within(5, lambda: tc.plane.tables.room().live == (20_000,))
    monkeypatch.setattr("onevip.engines.bpf.engine.SHRINK_AFTER_S", -1.0)
    for limit in (100_000, 1):
        tc.engine.set_limit(limit)
        assert tc.engine.make_room() == tc.engine.make_room() == []
        with pytest.raises(DataplaneError, match="2,097,152 slots are enough for"):
            tc.engine.grow()
    assert tc.plane.tables.room().slots == (2 << 20,)
    assert inserter.found(20_000) == 20_000


def test_a_limit_survives_the_daemon_and_its_upgrade(tc: Director) -> None:
    tc.engine.set_limit(12_345)
    tc.plane.settings.set(0, "build", 1)  # as if another version had loaded it
    daemon = BpfEngine()
    assert "replaced" in daemon.adopt()[0]
    assert BpfEngine().room().limit == 12_345


def test_only_one_growth_at_a_time(tc: Director, inserter: Inserter) -> None:
    inserter.insert(10)
    tc.engine.grow()
    with pytest.raises(DataplaneError, match="it is on its way, new connections go to a table of"):
        tc.engine.grow()
    assert tc.plane.tables.room().slots == (2 << 20, 131_072)


def test_room_tells_what_the_table_holds_and_whom_it_refused(
    tc: Director, inserter: Inserter
) -> None:
    before = tc.engine.room()
    assert [table.memory_bytes for table in before.tables] == [8 << 20]
    settled(tc, inserter, [CLOSING])
    arrives(tc)  # in its place
    for refused in range(3):
        tc(eth() / ip4(f"10.0.64.{10 + refused}", VIP, ttl=64) / tcp(40000, 80, "S"))
    assert within(5, lambda: tc.engine.room().tables[0].live == 24)
    now = tc.engine.room()
    assert now.evicted_inactive - before.evicted_inactive == 1
    assert now.evicted_half_open - before.evicted_half_open == 3
    inserter.insert(24, client="10.9.0.0", client_port=40001)  # another three buckets
    tc(eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40001, 80, "S"))
    now = tc.engine.room()
    assert now.table_full - before.table_full == 1
    assert now.table_busy == before.table_busy
    tc.set_timeouts(1)
    assert within(5, lambda: tc.engine.room().expired - now.expired == 48)
    assert not tc.engine.room().stands_still
    assert now.ticks < tc.engine.room().ticks


# Killed between two steps: the next one goes on.


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["pin", "map_update"])
def test_a_growth_that_was_killed_is_begun_anew(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    inserter.insert(100)

    def dies(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(libbpf, step, dies)
        with pytest.raises(Killed):
            tc.plane.tables.grow()
    assert tc.plane.tables.room().slots == (131_072,)
    assert inserter.found(100) == 100
    assert tc.plane.tables.grow()
    assert inserter.insert(200) == {"exists": 100, "inserted": 100}


def test_a_retirement_that_was_killed_is_finished_by_the_next_growth(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tc.plane.tables.grow()

    def dies(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tables.Tables, "_remove", dies)
        with pytest.raises(Killed):
            tc.plane.tables.retire()
    assert tc.plane.tables.room().slots == (2 << 20,)
    inserter.insert(100)
    assert tc.plane.tables.shrink()
    assert inserter.insert(200) == {"exists": 100, "inserted": 100}


@pytest.mark.parametrize("change", ["grow", "retire"])
def test_the_next_edit_gives_back_the_memory_of_what_was_killed(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "retire":
        tc.plane.tables.grow()
    inserter.insert(100)

    def dies(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(libbpf, "map_update", dies)
        patch.setattr(tables.Tables, "_remove", dies)
        if change == "retire":
            patch.setattr(tables.Tables, "_wait_for_programs", lambda *_: None)
        with pytest.raises(Killed):
            getattr(tc.plane.tables, change)()
    tc.edit(REAL, GATE, weight=2)
    assert len(tc.plane.tables.room().slots) == 1
    assert len(list((tc.plane.path / "maps").glob("connections-*"))) == 1
    assert inserter.found(100) == 100
    assert_counters_equal_contents(tc)


def test_an_old_programs_view_of_the_tables_is_enough(tc: Director, inserter: Inserter) -> None:
    """A program that still inserts by the word before a turn: its entry is found."""
    before = tc.plane.settings.get(0, "tables")
    tc.plane.tables.grow()
    after = tc.plane.settings.get(0, "tables")
    tc.plane.settings.set(0, "tables", before)
    assert inserter.insert(10) == {"inserted": 10}
    tc.plane.settings.set(0, "tables", after)
    assert inserter.found(10) == 10
    assert not tc.plane.tables.retire()


# Who may be ours.


def test_what_is_not_for_us_is_left_alone(tc: Director) -> None:
    for packet in (
        eth() / ip4(CLIENT, "10.0.0.77") / tcp(1, 80, "S"),
        eth() / ip4("10.3.0.1", "10.4.0.1") / tcp(1, 80, "A"),
    ):
        assert tc(packet).name == "left alone"


def test_the_filter_knows_services_and_real_servers_and_forgets_them(tc: Director) -> None:
    ours = tc.plane.filter
    known = [packed(ip_address(address)) for address in (VIP, REAL)]
    assert all(address in ours for address in known)
    others = [packed(ip_address(f"10.7.{n >> 8}.{n & 255}")) for n in range(4096)]
    assert sum(address in ours for address in others) <= 4
    tc(syn())
    tc.delete(REAL)
    tc.apply(Clear())
    assert all(address in ours for address in known), "a connection is alive"


def test_many_deletions_look_through_all_real_servers_once(
    tc: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [ServiceKey(Protocol.TCP, IPv4Address(f"10.0.9.{number}"), 80) for number in range(50)]
    addresses = [packed(key.address) for key in keys]
    tc.apply(*(AddService(key, "rr") for key in keys))
    rebuilt: list[set[bytes]] = []
    rebuild = AddressFilter.rebuild

    def count(self: AddressFilter, addresses: Iterable[bytes]) -> None:
        rebuilt.append(set(addresses))
        rebuild(self, rebuilt[-1])

    monkeypatch.setattr(AddressFilter, "rebuild", count)
    tc.apply(*(DeleteService(key) for key in keys[:25]))
    assert sum(address in tc.plane.filter for address in addresses[:25]) < 5
    assert all(address in tc.plane.filter for address in addresses[25:])
    tc.apply(Clear())
    assert len(rebuilt) == 2
    assert sum(address in tc.plane.filter for address in addresses) < 5


def test_a_bit_is_the_same_in_the_kernel_and_here(tc: Director) -> None:
    """Every VIP is served at once: a wrong bit would leave its packets alone."""
    for number in range(1, 60):
        vip = f"10.0.{number}.{255 - number}"
        key = ServiceKey(Protocol.TCP, IPv4Address(vip), 80)
        tc.apply(
            AddService(key, "rr"), AddRealServer(key, RealServer(IPv4Address(REAL), 80, GATE, 1))
        )
        assert tc(eth() / ip4(CLIENT, vip) / tcp(40000, 80, "S")).name == "forwarded"


# Others at work meanwhile.


def test_a_table_that_comes_or_goes_during_a_look_is_there_or_not(
    tc: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon looks without the lock."""
    tc(syn())
    tc.plane.tables.grow()
    both = tables.Tables._in_use(tc.plane.tables)
    for looks in (cycle([both, both[:1]]), cycle([both[:1], both])):
        monkeypatch.setattr(tables.Tables, "_in_use", lambda _, looks=looks: next(looks))
        room = tc.plane.tables.room()
        assert len(room.slots) == len(room.live)
        room.step()


def test_no_table_is_made_for_a_data_plane_that_has_gone(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unloaded and loaded anew while the daemon waited for the lock: the same path and pins."""
    engine = BpfEngine()
    inserter.insert(HALF)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.GROW)
    assert engine._plane() is not None
    lock = pins.writer_lock

    @contextmanager
    def late() -> Iterator[Path]:
        with lock() as base:
            monkeypatch.setattr(DataPlane, "is_pinned", False)
            yield base

    monkeypatch.setattr(pins, "writer_lock", late)
    assert engine.make_room() == []
    assert len(tc.plane.tables.room().slots) == 1


# The kernel refuses the memory.


@pytest.fixture
def refused(tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A table that must grow, and a kernel that makes no larger one. How often it was asked."""
    asked: list[int] = []

    def refuses(name: str, value_size: int, entries: int) -> int:
        asked.append(entries)
        raise DataplaneError("making a map", "Cannot allocate memory", errno.ENOMEM)

    inserter.insert(HALF)
    assert within(5, lambda: tc.plane.tables.room().step() is Step.GROW)
    monkeypatch.setattr(libbpf, "array_create", refuses)
    return asked


def test_an_edit_stands_though_the_table_cannot_grow(tc: Director, refused: list[int]) -> None:
    tc.edit(REAL, GATE, weight=2)
    assert refused
    assert tc.rows()[REAL][0] == 2


def test_a_refused_growth_is_tried_again_but_not_ten_times_a_second(
    tc: Director, refused: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = BpfEngine()
    for _ in range(5):  # and always told, so that the daemon logs it once
        with pytest.raises(DataplaneError, match="Cannot allocate memory"):
            engine.make_room()
    assert len(refused) == 1
    monkeypatch.undo()
    monkeypatch.setattr("onevip.engines.bpf.engine.REFUSED_FOR_S", 0.0)
    assert "2,097,152 slots" in engine.make_room()[0]


# A connection that does not end.


def test_a_lasting_connection_in_a_large_old_table_does_not_keep_the_new_one_small(
    tc: Director, inserter: Inserter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shrunk, but one connection stays in the large table: when many come, they go there again."""
    tc.plane.tables.grow()
    assert tc.plane.tables.retire()
    inserter.insert(1)
    assert within(5, lambda: tc.plane.tables.room().live == (1,))
    monkeypatch.setattr("onevip.engines.bpf.engine.SHRINK_AFTER_S", -1.0)
    assert tc.engine.make_room()
    assert tc.plane.tables.room().slots == (131_072, 2 << 20)
    few = inserter.insert(HALF, first=1)["inserted"]
    assert within(5, lambda: bool(tc.engine.make_room()))
    assert tc.plane.tables.room().slots == (2 << 20, 131_072)
    assert inserter.insert(2 * HALF) == {"exists": few + 1, "inserted": 2 * HALF - few - 1}
    assert inserter.found(2 * HALF) == tc.counters().active == 2 * HALF
    assert_counters_equal_contents(tc)
