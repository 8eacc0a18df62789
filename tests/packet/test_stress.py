"""The connection table under fire: both CPUs, both doors, a sweeper and a writer at once.

Packets are made in the kernel (stress.bpf.c) and go through the real programs. Afterwards the
counters must equal what the table holds, entry by entry. Seconds; ONEVIP_STRESS_S=60 for longer.
"""

from __future__ import annotations

import mmap
import os
import random
import socket
import struct
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.engines.bpf import libbpf, shapes
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Limits
from onevip.engines.bpf.slots import DISABLED, TEMPLATE
from onevip.engines.bpf.tables import FIRST_SLOTS
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
    RealServerKey,
    ServiceKey,
)
from onevip.model.service import PLAIN
from packet.conftest import Directors
from packet.network import FRONT, real_address
from packet.objects import compile_object
from packet.wire import (
    CLIENT,
    FOREVER,
    GATE,
    MASQ,
    PHASE_CLAIMED,
    PHASE_LIVE,
    SKB_IFINDEX,
    SKB_SIZE,
    VIP,
    Director,
    eth,
    ip4,
    tcp,
)

SECONDS = float(os.environ.get("ONEVIP_STRESS_S", "1"))
PATIENCE_S = 60  # longer, until enough has happened: the CPUs may be busy with others
REALS = 6
PACKETS_A_RUN = 20_000
U32, U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Shape:
    """How many flows there are, and whether those of one client port share their three buckets."""

    clients: int
    ports: int
    crowded: bool = False
    turning: bool = False  # the table grows and shrinks all the time
    only_syn: bool = False


SHAPES = {
    "one flow": Shape(1, 1),
    "few flows": Shape(4, 8),
    "full buckets": Shape(40, 3, crowded=True),
    "many flows": Shape(4096, 256),
    "crowded": Shape(20, 3, crowded=True),  # three buckets, but nobody is evicted
    "turning tables": Shape(40, 8, turning=True),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stress.bpf.c as an object."""
    target = tmp_path_factory.mktemp("stress") / "stress.bpf.o"
    compile_object(Path(__file__).with_name("stress.bpf.c"), target)
    return target


class Generator:
    """Packets from stress.bpf.c into both doors of a data plane."""

    def __init__(self, compiled: Path, tc: Director, xdp: Director) -> None:
        pins = (tc.plane.path / "maps").iterdir()
        reused = {path.name: libbpf.get_pinned(path) for path in pins}
        self._object = libbpf.Object(compiled, reuse=reused)
        for fd in reused.values():
            os.close(fd)
        for name, door in (("tc_door", tc), ("xdp_door", xdp)):
            program = door._program.to_bytes(4, "little")
            libbpf.map_update(self._object.maps[name], bytes(4), program)
        xdp.arrives_for(FRONT)
        self._frame = bytes(eth() / ip4(CLIENT, VIP) / tcp(40000, 80))
        self._context = bytearray(SKB_SIZE)
        struct.pack_into("=I", self._context, SKB_IFINDEX, socket.if_nametoindex("front"))

    def plan(self, shape: Shape, *, first: int = 0) -> None:
        """The packets of the next runs; `first`: the number of the first client."""
        value = struct.pack("=6I", shape.clients, shape.ports, REALS, shape.only_syn, 0, first)
        libbpf.map_update(self._object.maps["plans"], bytes(4), value)

    @property
    def packets(self) -> int:
        """How many were made, roughly: CPUs overtake each other here."""
        raw = libbpf.map_lookup(self._object.maps["plans"], bytes(4), 24) or bytes(24)
        return int.from_bytes(raw[16:20], "little")

    def run(self, name: str, repeat: int = 1) -> int:
        program = self._object.programs[name]
        context = b"" if name.endswith("_xdp") else bytes(self._context)
        verdict, _, _ = libbpf.run_program(program, self._frame, context=context, repeat=repeat)
        assert verdict > -100, f"{name} is broken: {verdict}"
        return verdict

    def close(self) -> None:
        self._object.close()


@contextmanager
def at_work(cpu: int, what: Callable[[], object]) -> Iterator[None]:
    """A process on one CPU that does it again and again."""
    stop, parent = mmap.mmap(-1, 1), os.getpid()  # no signal: that would interrupt a program
    child = os.fork()
    if child == 0:
        try:
            os.sched_setaffinity(0, {cpu})
            while not stop[0] and os.getppid() == parent:
                what()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(1)
    try:
        yield
    finally:
        stop[0] = 1
        assert os.waitpid(child, 0)[1] == 0


class Edits:
    """A writer who cannot leave the table alone."""

    options = PLAIN
    schedulers: tuple[str, ...] = ("rr", "wrr", "lc", "wlc")

    def __init__(self, tc: Director) -> None:
        self._tc = tc
        self._dice = random.Random(1)
        self.services = [
            ServiceKey(one, IPv4Address(VIP), 80) for one in (Protocol.TCP, Protocol.UDP)
        ]
        self.done = self.turns = self.retired = 0

    def _real(self, number: int, weight: int = 1) -> RealServer:
        method = MASQ if number % 2 else GATE
        return RealServer(IPv4Address(real_address(10 + number)), 80, method, weight)

    def build(self) -> None:
        for service in self.services:
            self._rebuild(service)

    def _rebuild(self, service: ServiceKey) -> None:
        self._tc.apply(AddService(service, "wlc", self.options))
        self._tc.apply(*(AddRealServer(service, self._real(n)) for n in range(REALS)))

    def turn(self) -> None:
        """New connections go to another table, or the old one goes."""
        tables = self._tc.plane.tables
        slots = tables.room().slots
        if len(slots) == 1:
            tables._turn(2 * FIRST_SLOTS if slots[0] == FIRST_SLOTS else FIRST_SLOTS)
            self.turns += 1
        elif self._dice.randrange(4):
            self.retired += tables.retire()
        else:
            tables._turn_back()
            self.turns += 1

    def one(self) -> None:
        """A random change; a removed server or service comes back at once."""
        service, real = self._dice.choice(self.services), self._dice.randrange(REALS)
        key = RealServerKey(self._real(real).address, 80)
        weight = self._dice.randrange(5)
        changes: list[Change] = []
        match self._dice.randrange(20):
            case 0:
                self._tc.apply(DeleteService(service))
                self._rebuild(service)
            case 1 | 2 | 3:
                scheduler = self._dice.choice(self.schedulers)
                changes = [EditService(service, scheduler, self.options)]
            case 4 | 5 | 6 | 7 | 8:
                self._tc.apply(DeleteRealServer(service, key))
                changes = [AddRealServer(service, self._real(real, weight))]
            case _:
                changes = [EditRealServer(service, self._real(real, weight))]
        self._tc.apply(*changes)
        self.done += 1


def crowd(tc: Director) -> None:
    """A hash key that makes the client's address count for nothing: one port, three buckets."""
    keys = list(tc.plane.settings.get_many(0, "hash_key"))
    keys[1] = keys[1] >> 32 << 32 | 0x10000  # + 0xffff0000, the mark of an IPv4 address, is 0
    tc.plane.settings.set_many(0, "hash_key", tuple(keys))


def hash_of(keys: tuple[int, ...], client: bytes, port: int, protocol: int) -> int:
    """connections.h's hash_of; `port` as the machine reads the two bytes on the wire."""
    words = [int.from_bytes(client[at : at + 4], "little") for at in range(0, 16, 4)]

    def plus(word: int, key: int) -> int:
        return (word + key) & U32

    h = plus(words[0], keys[0]) * plus(words[1], keys[0] >> 32)
    h += plus(words[2], keys[1]) * plus(words[3], keys[1] >> 32)
    h += plus(port << 8 | protocol, keys[2]) * (keys[2] >> 32 | 1)
    h &= U64
    h ^= h >> 33
    h = h * 0xBF58476D1CE4E5B9 & U64
    h ^= h >> 29
    h = h * 0x94D049BB133111EB & U64
    return h ^ h >> 32


def template_hash(keys: tuple[int, ...], raw: bytes) -> int:
    """connections.h's template_hash of a slot: of client network and service."""
    port, protocol = int.from_bytes(raw[50:52], "little"), raw[52]
    service = hash_of(keys, raw[32:48], port, protocol)
    return hash_of(keys, raw[16:32], 0, protocol) ^ (service << 1 & U64)


def choices(hashed: int, buckets: int) -> tuple[int, int, int]:
    """connections.h's bucket_index: home, and where else a connection may lie."""
    home = (hashed >> 32) * buckets >> 32
    distance = 1 + ((hashed & U32) * (buckets // 2 - 1) >> 32)
    return home, (home + distance) % buckets, (home - distance) % buckets


@dataclass
class Census:
    """Everything that the table holds, read slot by slot. A disabled template has no key."""

    keys: Counter[bytes]
    by_real: dict[int, list[int]]  # active, inactive
    overflow: Counter[tuple[int, int]]  # entries outside their home bucket, by table and home
    misplaced: int = 0
    claimed: int = 0

    @classmethod
    def of(cls, tc: Director) -> Census:
        found = cls(Counter(), {}, Counter())
        keys = tc.plane.settings.get_many(0, "hash_key")
        for number, table in enumerate(tc.plane.tables.open()):
            for slot, control in live_slots(table):
                raw = table._map[slot * 64 : slot * 64 + 64]
                if control & TEMPLATE:
                    if not control & DISABLED:
                        found.keys[raw[16:56]] += 1
                    hashed = template_hash(keys, raw)
                else:
                    found.keys[raw[16:56]] += 1
                    real = int.from_bytes(raw[56:60], "little")
                    found.by_real.setdefault(real, [0, 0])[0 if control & 4 else 1] += 1
                    port = int.from_bytes(raw[48:50], "little")
                    hashed = hash_of(keys, raw[16:32], port, raw[52])
                home, *others = choices(hashed, table.entries // Limits.WAYS)
                is_away = bool(control & 8)
                found.overflow[number, home] += is_away
                if slot // Limits.WAYS not in (others if is_away else [home]):
                    found.misplaced += 1
                if control >> 28 & 0xFFF != hashed & 0xFFF:
                    found.misplaced += 1
            found.claimed += sum(phase & 3 == PHASE_CLAIMED for phase in table.column("control"))
        return found


def live_slots(table: MappedArray) -> Iterator[tuple[int, int]]:
    """Slot and control word of what lives."""
    step = shapes.CONNECTION.size // 8
    for slot, control in enumerate(table._words[::step].tolist()):
        if control & 3 == PHASE_LIVE:
            yield slot, control


def keys_of(tc: Director) -> Counter[bytes]:
    """Client, VIP, ports and protocol of every connection, as they lie in the slots."""
    return Counter(
        table._map[slot * 64 + 16 : slot * 64 + 56]
        for table in tc.plane.tables.open()
        for slot, _ in live_slots(table)
    )


def words_of(tc: Director) -> tuple[int, Counter[tuple[int, int]]]:
    """Insert locks that are held, and overflow counts that are not 0, by table and bucket."""
    step = shapes.CONNECTION.size // 8 * Limits.WAYS
    locks, overflow = 0, Counter[tuple[int, int]]()
    for number, table in enumerate(tc.plane.tables.open()):
        words = table._words[1::step].tolist()
        locks += sum(word & 1 for word in words)
        overflow += Counter({(number, at): word >> 8 & 0xFFFFFF for at, word in enumerate(words)})
    return locks, overflow


def counts_of(tc: Director) -> dict[int, list[int]]:
    """Active and InAct of every real server with connections, as stored."""
    used = tc.plane.settings.get(0, "reals_used")
    words = {slot: tc.plane.real_counts.get(slot, "counts") for slot in range(used)}
    return {slot: [word >> 32, word & U32] for slot, word in words.items() if word}


def assert_counters_equal_contents(tc: Director) -> Census:
    census = Census.of(tc)
    assert [key for key, times in census.keys.items() if times > 1] == [], "a key lives twice"
    assert census.claimed == 0, "slots claimed for ever"
    assert census.misplaced == 0, "entries where nobody looks for them"
    assert counts_of(tc) == census.by_real, "Active and InAct are not what the table holds"
    locks, overflow = words_of(tc)
    assert locks == 0, "insert locks held for ever"
    assert overflow == +census.overflow, "overflow counts are not what the table holds"
    return census


@pytest.fixture
def doors(_directors: Directors) -> tuple[Director, Director]:
    """tc and xdp over one empty table."""
    return _directors("tc"), _directors("xdp")


@pytest.fixture
def generator(doors: tuple[Director, Director], compiled: Path) -> Iterator[Generator]:
    made = Generator(compiled, *doors)
    yield made
    made.close()


def back_to_one_table(tc: Director) -> None:
    """Empty, small and number 0, as at loading."""
    tables = tc.plane.tables
    tc._forget_connections()
    tables.retire()
    while tc.plane.settings.get(0, "tables") != 1:
        other = 2 * FIRST_SLOTS if tables.room().slots == (FIRST_SLOTS,) else FIRST_SLOTS
        assert tables._turn(other)
        assert tables.retire()
    tc._forget_connections()


def during(enough: Callable[[], bool], what: str) -> Iterator[None]:
    """Again and again for `SECONDS`, and on until enough has happened."""
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < SECONDS or not enough():
        assert elapsed < SECONDS + PATIENCE_S, f"{what}: not in all that time"
        yield


class Happened:
    """What the doors have counted since this was made."""

    def __init__(self, tc: Director) -> None:
        self._tc = tc
        self._before = tc.engine.door_counters()

    def by_door(self) -> dict[str, Counter[str]]:
        """Without what did not happen."""
        return {
            door: Counter(seen) - Counter(self._before[door])
            for door, seen in self._tc.engine.door_counters().items()
        }

    def is_enough(self, shape: Shape) -> bool:
        """New connections at both doors, packets to real servers of both methods, replies."""
        doors = self.by_door().values()
        wanted = {"masq", "gate"} if shape.only_syn else {"masq", "gate", "replies"}
        return wanted <= set().union(*doors) and all(
            seen["new_connections"] > 100 for seen in doors
        )


def end_all(tc: Director, generator: Generator) -> None:
    """Every connection that there is now; those that are made later stay."""
    tc.set_timeouts(0)
    generator.run("sweep_all")
    tc.set_timeouts(FOREVER)


@pytest.mark.parametrize("name", SHAPES)
def test_counters_equal_the_table_after_a_storm(
    doors: tuple[Director, Director], generator: Generator, name: str
) -> None:
    tc, shape, edits = doors[0], SHAPES[name], Edits(doors[0])
    assert assert_counters_equal_contents(tc).keys == Counter()
    if shape.crowded:
        crowd(tc)
    generator.plan(shape)
    edits.build()
    tc.set_timeouts(0)  # whatever a sweeper meets is due
    first, *_, last = sorted(os.sched_getaffinity(0))
    started, happened = time.monotonic(), Happened(tc)

    def has_stormed() -> bool:
        return happened.is_enough(shape) and bool(edits.retired or not shape.turning)

    def is_full() -> bool:
        return bool(keys_of(tc) and (words_of(tc)[1].total() or not shape.crowded))

    with (
        at_work(first, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_xdp", PACKETS_A_RUN)),
    ):
        with at_work(first, lambda: generator.run("sweep_all")):
            for _ in during(has_stormed, "connections at both doors"):
                edits.turn() if shape.turning else edits.one()
        packets_a_second = generator.packets / (time.monotonic() - started)
        tc.set_timeouts(FOREVER)  # what comes now stays
        until = time.monotonic() + PATIENCE_S
        while not is_full():
            assert time.monotonic() < until, "nothing stays"
    census = assert_counters_equal_contents(tc)
    print(
        f"{name}: {packets_a_second / 1e6:.1f} million packets a second,"
        f" {edits.done} edits, {edits.turns} turns of the table; at the end"
        f" {len(census.keys)} connections, {census.overflow.total()} of them away from home"
    )
    for door, seen in happened.by_door().items():
        print(f"  {door}: {', '.join(f'{count} {what}' for what, count in seen.items())}")
    assert census.keys
    assert census.overflow.total() or not shape.crowded
    end_all(tc, generator)
    assert assert_counters_equal_contents(tc).keys == Counter()
    if shape.turning:
        back_to_one_table(tc)


@pytest.mark.parametrize("name", ["one flow", "few flows", "crowded", "turning tables"])
def test_two_cpus_open_the_same_connections_at_once(
    doors: tuple[Director, Director], generator: Generator, name: str
) -> None:
    """Only SYNs: what is in the table twice stays there, to be seen. No evictions: those move keys
    about while we look."""
    tc, shape = doors[0], SHAPES[name]
    if shape.crowded:
        crowd(tc)
    generator.plan(replace(shape, only_syn=True))
    edits = Edits(tc)
    edits.build()
    first, *_, last = sorted(os.sched_getaffinity(0))
    rounds = 0

    def has_turned() -> bool:
        return rounds > 1 and bool(edits.retired or not shape.turning)

    with (
        at_work(first, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
    ):
        for _ in during(has_turned, "a turn of the table"):
            end_all(tc, generator)
            if shape.turning:
                edits.turn()
            time.sleep(0.002)
            rounds += 1
            keys = keys_of(tc)
            assert [key for key, times in keys.items() if times > 1] == [], "a key lives twice"
    print(f"{name}: {rounds} rounds")
    assert_counters_equal_contents(tc)
    end_all(tc, generator)
    assert assert_counters_equal_contents(tc).keys == Counter()
    if shape.turning:
        back_to_one_table(tc)
