"""Connections as user space reads them: those that packets opened, also while packets fly."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from onevip.command.connections import main
from onevip.command.environment import Environment
from onevip.command.ipvsadm import main as ipvsadm
from onevip.engines.bpf import shapes
from onevip.engines.bpf.connections import Reader, clock_now
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.slots import SLOT
from onevip.model import (
    AddRealServer,
    AddService,
    Connection,
    ConnectionFilter,
    Protocol,
    RealServer,
    ServiceKey,
)
from onevip.model.connection import count
from packet.network import real_address
from packet.test_stress import (
    PACKETS_A_RUN,
    REALS,
    SECONDS,
    SHAPES,
    Edits,
    Generator,
    at_work,
    compiled,  # noqa: F401 - fixtures
    crowd,
    doors,  # noqa: F401
    end_all,
    generator,  # noqa: F401
    hash_of,
)
from packet.wire import (
    CLIENT,
    FOREVER,
    GATE,
    IPIP,
    MASQ,
    OTHER_REAL,
    REAL,
    THIRD_REAL,
    VIP,
    Director,
    eth,
    eth_back,
    ip4,
    tcp,
    udp,
)

DNS = ServiceKey(Protocol.UDP, IPv4Address(VIP), 53)


def opened(
    client: str, port: int, real: str, state: str, expires_s: int, *, active: bool, to: int = 8080
) -> Connection:
    return Connection(
        Protocol.TCP, IPv4Address(client), port, IPv4Address(VIP), 80, IPv4Address(real), to,
        state, expires_s, active,
    )  # fmt: skip


def listed(director: Director, wanted: ConnectionFilter | None = None) -> dict[int, Connection]:
    """By client port. A second or two may have passed: times are rounded up to ten."""
    return {
        one.client_port: replace(one, expires_s=(one.expires_s + 9) // 10 * 10)
        for one in director.engine.connections(wanted or ConnectionFilter())
    }


@pytest.fixture
def busy(director: Director) -> Director:
    """Connections of every kind."""
    director.add_service()
    for address, method in ((REAL, MASQ), (OTHER_REAL, GATE), (THIRD_REAL, IPIP)):
        director.add(address, method, port=8080 if method is MASQ else 80)
    director.apply(AddService(DNS, "rr"))
    director.apply(AddRealServer(DNS, RealServer(IPv4Address(OTHER_REAL), 53, GATE)))
    for port in range(40000, 40003):  # rr: the server that was added last comes first
        director(eth() / ip4(CLIENT, VIP) / tcp(port, 80, "S"))
    director(eth_back() / ip4(REAL, CLIENT) / tcp(8080, 40002, "SA"))
    director(eth() / ip4(CLIENT, VIP) / tcp(40002, 80, "A"))
    director(eth() / ip4(CLIENT, VIP) / tcp(40001, 80, "A"))
    director(eth() / ip4(CLIENT, VIP) / tcp(40001, 80, "FA"))
    director(eth() / ip4("10.0.65.9", VIP) / udp(5353, 53))
    return director


EXPECTED = {
    40000: opened(CLIENT, 40000, THIRD_REAL, "SYN_RECV", 60, active=True, to=80),
    40001: opened(CLIENT, 40001, OTHER_REAL, "FIN_WAIT", 120, active=False, to=80),
    40002: opened(CLIENT, 40002, REAL, "ESTABLISHED", 900, active=True),
    5353: Connection(
        Protocol.UDP, IPv4Address("10.0.65.9"), 5353, IPv4Address(VIP), 53,
        IPv4Address(OTHER_REAL), 53, "UDP", 300,
    ),
}  # fmt: skip


def test_what_was_opened_is_listed_and_nothing_else(busy: Director) -> None:
    assert listed(busy) == EXPECTED
    assert busy.engine.connection_counts() == count(EXPECTED.values())


def test_nothing_is_listed_of_an_empty_table(director: Director) -> None:
    assert listed(director) == {}


def test_filters_meet_what_packets_wrote(busy: Director) -> None:
    for wanted in (
        ConnectionFilter(client=IPv4Network("10.0.64.0/24")),
        ConnectionFilter(service=DNS),
        ConnectionFilter(real=IPv4Address(OTHER_REAL)),
        ConnectionFilter(real=IPv4Address(REAL), real_port=8080),
        ConnectionFilter(states=frozenset({"FIN_WAIT", "UDP"})),
    ):
        admitted = {port: one for port, one in EXPECTED.items() if wanted.admits(one)}
        assert 0 < len(admitted) < len(EXPECTED)
        assert listed(busy, wanted) == admitted


def test_connections_of_a_deleted_real_server_are_listed(busy: Director) -> None:
    busy.delete(REAL, 8080)
    assert listed(busy) == EXPECTED


def test_ended_connections_are_not_listed(busy: Director) -> None:
    busy.set_timeouts(0)
    deadline = time.monotonic() + 5
    while listed(busy):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_clock_is_the_programs(tc: Director) -> None:
    tc.add_service()
    tc.add(REAL, GATE)
    before = clock_now(tc.plane)
    tc(eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S"))
    connection = tc.connection(40000)
    assert connection is not None
    assert 0 <= connection.seen - before + 1 <= 1 + clock_now(tc.plane) - before + 1


def test_the_commands_print_it(busy: Director) -> None:
    out = io.StringIO()
    environment = Environment(stdout=out, engine=lambda: busy.engine)
    assert main(["--json", "--state", "ESTABLISHED"], environment) == 0
    (line,) = out.getvalue().splitlines()
    row = json.loads(line)
    assert 890 < row.pop("expires_s") <= 900
    assert row == {
        "protocol": "tcp", "state": "ESTABLISHED", "active": True, "template": False,
        "client": CLIENT, "client_port": 40002, "vip": VIP, "vip_port": 80,
        "real": REAL, "real_port": 8080,
    }  # fmt: skip
    out = io.StringIO()
    assert ipvsadm(["-Lcn"], replace(environment, stdout=out)) == 0
    assert " 10.0.64.7:40001    10.0.0.100:80      10.1.0.11:80\n" in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2 + len(EXPECTED)


# While packets fly.

LIFE_S = 0.003  # of a connection: about as long as a slow look at a chunk takes


class SlowCopy(MappedArray):
    """Copies the first words of all slots, then the second words …: nearly every slot is torn."""

    def copy(self, first: int, entries: int) -> bytes:
        words = [0] * (8 * entries)
        for place in range(8):
            words[place::8] = self.words(8 * place, first, entries)
        return struct.pack(f"={len(words)}Q", *words)


def mixtures(tc: Director, reader: Reader) -> tuple[int, list[str]]:
    """How many connections are found; those whose parts are not of one and the same."""
    keys = tc.plane.settings.get_many(0, "hash_key")
    found, wrong = 0, []
    known = {IPv4Address(real_address(10 + number)) for number in range(REALS)}
    for chunk in reader._chunks():
        for at in (place for place, is_chosen in enumerate(chunk.chosen) if is_chosen):
            found += 1
            raw = chunk.slots[at * SLOT : (at + 1) * SLOT]
            (control,) = struct.unpack_from("=Q", raw)
            port, vip_port = struct.unpack_from("=HH", raw, 48)
            (real,) = struct.unpack_from("=I", raw, shapes.CONNECTION.fields["real"].offset)
            protocol = raw[shapes.CONNECTION.fields["protocol"].offset]
            tag = hash_of(keys, raw[16:32], port, protocol) & 0xFFF
            parts = (
                tag == control >> 28 & 0xFFF,
                raw[16:28] == raw[32:44] == bytes(10) + b"\xff\xff",
                IPv4Address(raw[28:32]) in IPv4Network("10.0.64.0/18"),
                IPv4Address(raw[44:48]) == IPv4Address(VIP),
                vip_port == 80 << 8,
                tc.plane.reals.get(real, "service_key.protocol") == protocol,
                chunk.reals[real].address in known,
            )
            if not all(parts):
                wrong.append(f"{parts} {raw.hex()}")
    return found, wrong


@pytest.mark.parametrize("array", [MappedArray, SlowCopy])
@pytest.mark.parametrize("name", ["few flows", "full buckets", "many flows"])
def test_no_mixture_is_read_in_a_storm(
    doors: tuple[Director, Director],  # noqa: F811
    generator: Generator,  # noqa: F811
    name: str,
    array: type[MappedArray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connections begin and end by the hundred thousand meanwhile, and servers come and go."""
    tc, shape, edits = doors[0], SHAPES[name], Edits(doors[0])
    if shape.crowded:
        crowd(tc)
    generator.plan(shape)
    edits.build()
    tc.set_timeouts(0)  # whatever a sweeper meets is due
    tables = tc.plane.connection_tables()
    for table in tables:
        table.__class__ = array
    monkeypatch.setattr(tc.plane, "connection_tables", lambda: tables)
    first, *_, last = sorted(os.sched_getaffinity(0))
    happened: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    with (
        at_work(first, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_xdp", PACKETS_A_RUN)),
        at_work(first, lambda: (generator.run("sweep_all"), time.sleep(LIFE_S))),
    ):
        while time.monotonic() < until or min(happened["reported"], happened["as values"]) < 100:
            assert time.monotonic() < until + 30, "hardly anything lives long enough to be read"
            found, wrong = mixtures(tc, Reader(tc.plane))
            assert wrong == []
            happened["reported"] += found
            happened["readings"] += 1
            edits.one()
            for one in tc.engine.connections():
                assert one.client in IPv4Network("10.0.64.0/18")
                assert str(one.service) in (f"tcp {VIP}:80", f"udp {VIP}:80")
                happened["as values"] += 1
    tc.set_timeouts(FOREVER)
    print(f"{name}: {dict(happened)}")
    end_all(tc, generator)
