"""Listing a table of a million connections.

The floor of a case is a bare loop that formats as many lines of six ready-made fields, in the
same columns, and writes them to the same /dev/null. Filters and counts are held against printing
everything: their floor is that. Needs no privilege: the table is a file in memory.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable
from io import TextIOWrapper
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.options import Options
from benchmarks.results import Result
from onevip.command.connections import JSON, TABLE
from onevip.command.ipvsadm.connections import NUMERIC
from onevip.engines.base import EVERY_CONNECTION, LineFormat
from onevip.engines.bpf import shapes
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.connections import Reader
from onevip.engines.bpf.loader import DataPlane, clock_shift, clock_units
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.slots import ACTIVE, CLOCK, LIVE, SEEN_SHIFT, STATE_SHIFT
from onevip.model import ConnectionFilter, OnevipError, Protocol, ServiceKey

SLOTS = 1 << 21
CONNECTIONS = 1_000_000
REALS = 200
HZ = 250
NOW = 5_000_000  # clock units; any
TIMEOUT = clock_units(900, HZ)
ROUNDS = 5
VIPS = [IPv4Address("192.0.2.100") + number for number in range(4)]
CLIENT = IPv4Address("198.51.100.7")
FIELDS = shapes.CONNECTION.fields
SLOT_SIZE = shapes.CONNECTION.size
KEY = struct.Struct("<Q8x16s16s2s2s")  # the slot's first fields
Work = Callable[[TextIOWrapper], object]
STATES = (1, 1, 1, 1, 3, 4, 5, 7)  # half of them established


class SyntheticPlane(DataPlane):
    """A table in memory, half full of connections of random clients."""

    def __init__(self) -> None:
        dice = random.Random(1)
        self.settings = _array(shapes.SETTINGS, 1)
        self.settings.set(0, "hz", HZ)
        self.settings.set(0, "clock_shift", clock_shift(HZ))
        self.settings.set_many(0, "tcp_timeout", (TIMEOUT,) * 16)
        self.settings.set(0, "udp_timeout", TIMEOUT)
        self.settings.set(0, "reals_used", REALS)
        self.reals = _array(shapes.REAL, REALS)
        for index in range(REALS):
            address = IPv4Address("10.1.0.10") + index
            self.reals.set_bytes(index, "address", packed(address))
            self.reals.set(index, "port", 8080)
        self._table = _array(shapes.CONNECTION, SLOTS, _filled(dice))

    def connection_tables(self) -> list[MappedArray]:
        return [self._table]


def _array(shape: shapes.Shape, entries: int, content: bytes = b"") -> MappedArray:
    fd = os.memfd_create(shape.name)
    os.ftruncate(fd, (shape.size + 7) // 8 * 8 * entries)
    os.pwrite(fd, content, 0)
    return MappedArray(fd, shape, entries)


def _filled(dice: random.Random) -> bytes:
    """Every slot; a random million of them live."""
    slots = bytearray(SLOTS * SLOT_SIZE)
    vips = [packed(vip) for vip in VIPS]
    for number, at in enumerate(dice.sample(range(SLOTS), CONNECTIONS)):
        seen = NOW - dice.randrange(TIMEOUT) & CLOCK
        state = dice.choice(STATES)
        control = LIVE | ACTIVE * (state in (1, 3)) | state << STATE_SHIFT | seen << SEEN_SHIFT
        control |= dice.getrandbits(26) << 14  # generation, tag
        client = packed(CLIENT) if number < 10 else packed(IPv4Address(dice.getrandbits(32)))
        port, real = dice.randbytes(2), dice.randrange(REALS)
        start = at * SLOT_SIZE
        KEY.pack_into(slots, start, control, client, vips[real % 4], port, b"\0\x50")
        struct.pack_into("=I", slots, start + FIELDS["real"].offset, real)
        slots[start + FIELDS["protocol"].offset] = Protocol.TCP
    return bytes(slots)


class Case(NamedTuple):
    """What is timed, what it is held against, and how many times that it may cost."""

    name: str
    work: Work
    floor: Work
    goal: float


def bare_table(out: TextIOWrapper) -> None:
    """The loop that anybody would write, for the same columns."""
    pro, expires, state = "TCP", "14:53", "ESTABLISHED"
    client, vip, real = "198.51.100.7:40000", "192.0.2.100:80", "10.1.0.10:8080"
    lines = [
        f"{pro:<5} {expires:>7}  {state:<11} {client:<21} {vip:<21} {real}\n"
        for _ in range(CONNECTIONS)
    ]
    out.write("".join(lines))


def bare_ipvsadm(out: TextIOWrapper) -> None:
    pro, expires, state = "TCP", "14:53", "ESTABLISHED"
    client, vip, real = "198.51.100.7:40000", "192.0.2.100:80", "10.1.0.10:8080"
    lines = [
        f"{pro:<3} {expires:<6} {state:<11} {client:<18} {vip:<18} {real}\n"
        for _ in range(CONNECTIONS)
    ]
    out.write("".join(lines))


def bare_json(out: TextIOWrapper) -> None:
    pro, expires, state = "tcp", 893, "ESTABLISHED"
    client, vip, real = "198.51.100.7", "192.0.2.100", "10.1.0.10"
    lines = [
        f'{{"protocol":"{pro}","state":"{state}","expires_s":{expires},"active":true,'
        f'"template":false,"client":"{client}","client_port":{port & 65535},"vip":"{vip}",'
        f'"vip_port":{80},"real":"{real}","real_port":{8080}}}\n'
        for port in range(CONNECTIONS)
    ]
    out.write("".join(lines))


def cases(plane: DataPlane) -> list[Case]:
    def lines(form: LineFormat, wanted: ConnectionFilter = EVERY_CONNECTION) -> Work:
        def work(out: TextIOWrapper) -> None:
            out.writelines(Reader(plane, wanted, lambda: NOW).lines(form))

        return work

    everything = lines(TABLE)
    filters = {
        "--client of 10 connections": ConnectionFilter(IPv4Network(CLIENT)),
        "--client of a half": ConnectionFilter(IPv4Network("0.0.0.0/1")),
        "--service of a quarter": ConnectionFilter(service=ServiceKey(Protocol.TCP, VIPS[0], 80)),
        "--real of 1 in 200": ConnectionFilter(real=IPv4Address("10.1.0.20")),
        "--state ESTABLISHED": ConnectionFilter(states=frozenset({"ESTABLISHED"})),
        "--state of nearly all": ConnectionFilter(
            states=frozenset({"ESTABLISHED", "SYN_RECV", "TIME_WAIT", "CLOSE_WAIT", "UDP"})
        ),
    }
    return [
        Case("onevip connections", everything, bare_table, 3),
        Case("onevip ipvsadm -Lcn", lines(NUMERIC), bare_ipvsadm, 3),
        Case("onevip connections --json", lines(JSON), bare_json, 3),
        *(Case(name, lines(TABLE, wanted), everything, 1) for name, wanted in filters.items()),
        Case("--count", lambda _out: Reader(plane, now=lambda: NOW).counts(), everything, 1),
    ]


def run(options: Options) -> list[Result]:
    """CPU seconds for a million, the median of some rounds; `ratio`: the median of theirs."""
    plane = SyntheticPlane()
    rounds = 1 if options.quick else ROUNDS
    found = Reader(plane, now=lambda: NOW).counts().total()
    if found != CONNECTIONS:
        raise OnevipError(f"{found} connections are found, not {CONNECTIONS}: nothing is measured")
    with Path(os.devnull).open("w") as out:
        return [measured(case, out, rounds) for case in cases(plane) if options.wants(case.name)]


def measured(case: Case, out: TextIOWrapper, rounds: int) -> Result:
    """Work and floor by turns, so that a busy machine slows both."""
    pairs = [(seconds(case.floor, out), seconds(case.work, out)) for _ in range(rounds)]
    floors, works = zip(*pairs, strict=True)
    ratio = median(work / floor for floor, work in pairs)
    return Result(case.name, median(works), "s", median(floors), ratio, case.goal)


def seconds(work: Work, out: TextIOWrapper) -> float:
    """Of this process's CPU: nothing here waits for anything but other processes."""
    started = time.process_time()
    work(out)
    out.flush()
    return time.process_time() - started
