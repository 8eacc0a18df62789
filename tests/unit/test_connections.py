"""Reading the connection table: what is reported was there, whole, at one instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connection_table import (
    CLAIMED,
    FREE,
    LIVE,
    NOW,
    SCTP_TIMEOUTS_S,
    TCP_TIMEOUTS_S,
    UDP_TIMEOUT_S,
    Slot,
    SyntheticPlane,
    mapped,
    write,
)
from onevip.command.connections import JSON, TABLE
from onevip.command.ipvsadm.connections import NUMERIC
from onevip.engines.bpf.connections import CHUNK, Reader
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import CONNECTION, TcpState
from onevip.engines.bpf.shapes import REAL as REAL_SHAPE
from onevip.model import Connection, ConnectionFilter, Protocol, ServiceKey
from onevip.model.connection import STATES, TEMPLATE_STATES, count

CLIENT, OTHER_CLIENT = IPv4Address("198.51.100.7"), IPv4Address("203.0.113.9")
VIP, OTHER_VIP = IPv4Address("192.0.2.100"), IPv4Address("192.0.2.101")
REAL, OTHER_REAL = IPv4Address("10.1.0.10"), IPv4Address("10.1.0.11")
ONE = Slot(CLIENT, 40000, VIP, 80, real=0)
TEMPLATE = replace(ONE, client_port=0, template=True, timeout=360)
OTHER = Slot(OTHER_CLIENT, 50000, OTHER_VIP, 443, real=1, state=4, generation=2, tag=7)


def connection(slot: Slot, real: IPv4Address | IPv6Address, real_server_port: int) -> Connection:
    """What a live slot stands for."""
    vip_port, real_port = slot.vip_port, real_server_port or slot.vip_port
    names, timeout = STATES[slot.protocol], UDP_TIMEOUT_S
    if slot.protocol is Protocol.TCP:
        timeout = TCP_TIMEOUTS_S[slot.state]
    elif slot.protocol is Protocol.SCTP:
        timeout = SCTP_TIMEOUTS_S[slot.state]
    if slot.template:
        names, timeout = TEMPLATE_STATES, slot.timeout
        real_port = real_port if vip_port else 0
        if slot.disabled:
            vip_port = real_port = 65535
    elif slot.own_port:
        real_port = vip_port
    return Connection(
        slot.protocol, slot.client, slot.client_port, slot.vip, vip_port, real, real_port,
        names[slot.state], max(0, timeout - (NOW - slot.seen)), slot.active, slot.template,
    )  # fmt: skip


def read(plane: SyntheticPlane, wanted: ConnectionFilter | None = None) -> list[Connection]:
    return list(Reader(plane, wanted or ConnectionFilter(), lambda: NOW).connections())


def two_reals(plane: SyntheticPlane) -> SyntheticPlane:
    plane.put_real(0, REAL, 8080)
    plane.put_real(1, OTHER_REAL, 80)
    return plane


def test_the_layout_is_what_the_reader_unpacks():
    names = ("control", "client", "vip", "client_port", "vip_port")
    places = [CONNECTION.fields[name].offset for name in names]
    assert (CONNECTION.size, places) == (64, [0, 16, 32, 48, 50])
    assert min(CONNECTION.fields[name].offset for name in ("real", "protocol")) > 50


def test_states_have_the_kernels_numbers():
    names = [f"TCP_{name}" for name in STATES[Protocol.TCP]]
    assert names == [TcpState(number).name for number in range(TcpState.TCP_STATES)]


def test_an_empty_table_has_no_connections():
    assert read(SyntheticPlane(3 * CHUNK)) == []


def test_only_live_slots_are_connections():
    plane = two_reals(SyntheticPlane())
    plane.put_all([replace(ONE, phase=FREE), replace(ONE, phase=CLAIMED), ONE])
    assert read(plane) == [connection(ONE, REAL, 8080)]


def test_every_table_and_every_chunk_is_read():
    plane = two_reals(SyntheticPlane(2 * CHUNK + 5, 8))
    for table, at in ((0, 0), (0, CHUNK - 1), (0, CHUNK), (0, 2 * CHUNK + 4), (1, 7)):
        plane.put(at, replace(ONE, client_port=1000 * table + at % 977), table)
    ports = [one.client_port for one in read(plane)]
    assert ports == [0, (CHUNK - 1) % 977, CHUNK % 977, (2 * CHUNK + 4) % 977, 1007]


def test_the_port_of_a_service_of_every_port_is_the_clients():
    plane = SyntheticPlane()
    plane.put_real(0, REAL, 0)
    plane.put(0, replace(ONE, vip_port=8080))
    assert read(plane) == [connection(replace(ONE, vip_port=8080), REAL, 8080)]


@pytest.mark.parametrize(
    ("slot", "expires_s"),
    [
        (replace(ONE, seen=NOW), 900),
        (replace(ONE, seen=NOW - 7), 893),
        (replace(ONE, seen=NOW - 900), 0),
        (replace(ONE, seen=NOW - 5000), 0),  # the sweeper is late
        (replace(ONE, seen=NOW + 1), 900),  # a packet came after we looked at the clock
        (replace(ONE, state=6, seen=NOW - 3), 7),
        (replace(ONE, protocol=Protocol.UDP, state=0, seen=NOW - 1), 299),
        (replace(ONE, protocol=Protocol.SCTP, state=8, seen=NOW - 1), 899),
        (replace(TEMPLATE, timeout=600, under=3, seen=NOW - 60), 540),
        (replace(TEMPLATE, timeout=60, seen=NOW - 61), 0),
        (replace(TEMPLATE, timeout=0x7FFFFF, under=0xFFFFFF, generation=0x3FFF), 0x7FFFFF),
    ],
)
def test_time_that_is_left(slot, expires_s):
    plane = two_reals(SyntheticPlane())
    plane.put(1, slot)
    assert [one.expires_s for one in read(plane)] == [expires_s]


def test_time_that_is_left_when_the_clock_begins_anew():
    plane = two_reals(SyntheticPlane())
    plane.put(0, replace(ONE, seen=0xFFFFFF))
    (one,) = Reader(plane, now=lambda: 4).connections()
    assert one.expires_s == 895


def test_seconds_are_rounded_down():
    plane = two_reals(SyntheticPlane())
    plane.settings.set(0, "hz", 100)
    plane.put(0, replace(ONE, seen=NOW - 899))  # 1 unit of 640 ms
    assert [one.expires_s for one in read(plane)] == [0]


# What happens while the reader looks.


class Interrupted(MappedArray):
    """Somebody writes into the table before the reader's nth look at it."""

    looks = 0
    interruptions: ClassVar[dict[int, Callable[[MappedArray], None]]] = {}

    def _look(self) -> None:
        type(self).looks += 1
        self.interruptions.get(self.looks, lambda _: None)(self)

    def words(self, offset: int, first: int, entries: int) -> list[int]:
        self._look()
        return super().words(offset, first, entries)

    def copy(self, first: int, entries: int) -> bytes:
        self._look()
        return super().copy(first, entries)


LOOKS = 4  # at a chunk: is it worth while · control words · slots · control words again


@pytest.fixture
def interrupted():
    """A plane with ONE in slot 3; `interrupted(look, write)` reads it."""
    plane = two_reals(SyntheticPlane(64, of=Interrupted))
    plane.put(3, ONE)

    def read_interrupted(look: int, what: Callable[[MappedArray], None]) -> list[Connection]:
        Interrupted.looks, Interrupted.interruptions = 0, {look: what}
        found = read(plane)
        assert Interrupted.looks == LOOKS or not found
        return found

    return read_interrupted


WAS, IS = connection(ONE, REAL, 8080), connection(OTHER, OTHER_REAL, 80)


def test_a_connection_that_ends_between_the_looks_is_not_reported(interrupted):
    for look in range(1, LOOKS + 1):
        assert interrupted(look, lambda table: table.set(3, "control", 1 << 14)) == []


@pytest.mark.parametrize("look", range(1, LOOKS + 1))
def test_a_slot_that_is_used_again_is_no_mixture(interrupted, look):
    """Between the looks at the control words nothing of it is reported."""
    found = interrupted(look, lambda table: write(table, 3, OTHER))
    assert found == ([IS] if look <= 2 else [])


def test_a_slot_that_is_used_again_for_the_same_key_is_another_connection(interrupted):
    again = replace(ONE, generation=2, state=3)
    assert interrupted(3, lambda table: write(table, 3, again)) == []


def test_a_slot_that_is_being_filled_is_not_reported(interrupted):
    claimed = replace(OTHER, phase=CLAIMED)
    for look in (2, 3, 4):
        assert interrupted(look, lambda table: write(table, 3, claimed)) == []


def test_a_connection_that_packets_touch_is_reported(interrupted):
    touched = replace(ONE, state=4, seen=NOW - 1, active=False)
    for look in (3, 4):
        write_it = lambda table: table.set(3, "control", touched.control)  # noqa: E731
        assert [one.client for one in interrupted(look, write_it)] == [CLIENT]


@pytest.mark.parametrize("words", range(9))
def test_a_copy_that_is_half_old_and_half_new_is_not_reported(words):
    """The slot changes while it is copied, at any of its words."""

    class Torn(MappedArray):
        def copy(self, first: int, entries: int) -> bytes:
            at = (3 - first) * 64 + words * 8
            old = super().copy(first, entries)
            write(self, 3, ONE if copies else OTHER)
            copies.append(first)
            return old[:at] + super().copy(first, entries)[at:]

    copies: list[int] = []
    plane = two_reals(SyntheticPlane(64, of=Torn))
    plane.put(3, ONE)
    assert read(plane) == []
    assert len(copies) == 2


def test_a_real_server_that_gets_anothers_slot_is_called_by_its_own_name():
    """A deleted one's slot may be given to another as soon as its last connection has ended."""
    plane = two_reals(SyntheticPlane(2 * CHUNK, of=Interrupted))
    plane.put(3, ONE)

    def renamed(table: MappedArray) -> None:
        table.set(3, "control", 1 << 14)
        plane.put_real(0, IPv4Address("10.1.0.99"), 99)
        write(table, CHUNK + 3, replace(ONE, client_port=41000))

    def names(of: Callable[[Reader], object]) -> object:
        plane.put_real(0, REAL, 8080)
        plane.put(3, ONE)
        plane.put(CHUNK + 3, replace(ONE, phase=FREE))
        Interrupted.looks, Interrupted.interruptions = 0, {LOOKS + 1: renamed}
        return of(Reader(plane, now=lambda: NOW))

    own = ["10.1.0.10:8080", "10.1.0.99:99"]
    assert names(lambda it: [str(one.real_server) for one in it.connections()]) == own
    assert names(lambda it: [line.split()[-1] for line in it.lines(TABLE)]) == own
    assert names(lambda it: [str(kind.real_server) for kind in it.counts()]) == own


def test_a_name_that_came_after_the_connection_is_not_its_own():
    """It ends, and its real server's slot goes to another, just before the names are read."""
    plane = two_reals(SyntheticPlane())
    plane.put(3, ONE)

    class Renamed(MappedArray):
        looks = 0

        def words(self, offset: int, first: int, entries: int) -> list[int]:
            type(self).looks += 1
            if self.looks == 4:  # the first three were for the names at the beginning
                plane.slots[0].set(3, "control", 1 << 14)
                plane.put_real(0, IPv4Address("10.1.0.99"), 99)
            return super().words(offset, first, entries)

    plane.reals = mapped(REAL_SHAPE, 2, Renamed)
    two_reals(plane)
    assert read(plane) == []
    assert Renamed.looks == 6


def test_the_clock_goes_on_while_lines_are_printed():
    plane = two_reals(SyntheticPlane(2 * CHUNK))
    plane.put(0, ONE)
    plane.put(CHUNK, ONE)
    clock = iter((NOW, NOW, NOW + 60))
    lines = Reader(plane, now=lambda: next(clock)).lines(NUMERIC)
    assert [line.split()[1] for line in lines] == ["15:00", "14:00"]


def test_a_filter_knows_a_real_server_by_its_present_name():
    plane = two_reals(SyntheticPlane(of=Interrupted))
    plane.put(3, ONE)
    Interrupted.looks = 0
    Interrupted.interruptions = {2: lambda _: plane.put_real(0, IPv4Address("10.1.0.99"), 99)}
    assert read(plane, ConnectionFilter(real=REAL)) == []


# Any table, any filter.

IPV4 = st.sampled_from([CLIENT, CLIENT + 1, IPv4Address("198.51.103.255"), IPv4Address(0)])
IPV6 = st.sampled_from(
    [IPv6Address(text) for text in ("2001:db8::1", "2001:db8:0:1::", "::", "::7", "fe80::ffff:1:2")]
)
# A mapped one is how the table writes IPv4: no packet has it.
ANY_IPV6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)
REALS = {
    0: (REAL, 8080), 1: (OTHER_REAL, 80), 2: (IPv6Address("2001:db8:1::10"), 80), 3: (REAL, 0),
    4: (OTHER_REAL, 80), 5: (REAL, 80), 256: (REAL, 80), 261: (OTHER_REAL, 8080), 300: (REAL, 8080),
}  # fmt: skip
PORTS = st.sampled_from([0, 1, 80, 8080, 256, 40000, 65535])


@st.composite
def slots(draw: st.DrawFn) -> Slot:
    addresses = draw(st.sampled_from([IPV4, IPV6]))
    protocol = draw(st.sampled_from(Protocol))
    template = protocol is Protocol.IP or draw(st.booleans())
    names = TEMPLATE_STATES if template else STATES[protocol]
    return Slot(
        draw(addresses | (st.ip_addresses(v=4) if addresses is IPV4 else ANY_IPV6)),
        0 if template else draw(PORTS), draw(addresses), draw(PORTS),
        draw(st.sampled_from(list(REALS))), protocol,
        draw(st.integers(0, len(names) - 1)), NOW - draw(st.integers(0, 2000)),
        draw(st.booleans()), template, draw(st.sampled_from([FREE, CLAIMED, LIVE, LIVE, LIVE])),
        draw(st.integers(0, 0x3FFF)), draw(st.integers(0, 4095)), draw(st.integers(0, 3)),
        draw(st.booleans()), draw(st.integers(0, 3000)), draw(st.integers(0, 0xFFFFFF)),
        template and draw(st.booleans()),
    )  # fmt: skip


NETWORKS = ("198.51.100.7/32", "198.51.100.0/22", "0.0.0.0/0", "128.0.0.0/1", "2001:db8::/63",
            "::/0", "::/81", "::ffff:0:0/96", "2001:db8::1/128")  # fmt: skip
FILTERS = st.builds(
    ConnectionFilter,
    st.none() | st.sampled_from([ip_network(network) for network in NETWORKS]),
    st.none() | st.builds(ServiceKey, st.sampled_from(Protocol), IPV4 | IPV6, PORTS),
    st.none() | st.sampled_from([REAL, OTHER_REAL, IPv6Address("2001:db8:1::10"), CLIENT]),
    st.none() | PORTS,
    st.just(frozenset())
    | st.frozensets(st.sampled_from([*STATES[Protocol.TCP], "UDP", *TEMPLATE_STATES, "INIT"])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(slots(), max_size=60), FILTERS | st.just(ConnectionFilter()))
@example([ONE], ConnectionFilter(IPv6Network("::/0")))
@example([replace(ONE, real=3)], ConnectionFilter(real_port=0))
@example([ONE], ConnectionFilter(IPv4Network("198.51.100.7/32"), states=frozenset({"UDP", "NONE"})))
def test_every_way_to_read_any_table_agrees(held, wanted):
    plane = SyntheticPlane(80, reals=301)
    for index, (address, port) in REALS.items():
        plane.put_real(index, address, port)
    plane.put_all(held)
    live = [connection(slot, *REALS[slot.real]) for slot in held if slot.phase == LIVE]
    expected = [one for one in live if wanted.admits(one)]
    reader = Reader(plane, wanted, lambda: NOW)
    assert list(reader.connections()) == expected
    assert reader.counts() == count(expected)
    for form in (TABLE, NUMERIC, JSON):
        printed = "".join(reader.lines(form))
        assert printed == "".join(map(form.line, expected))


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (ConnectionFilter(client=IPv4Network("198.51.100.0/24")), {40000, 40001}),
        (ConnectionFilter(client=IPv6Network("2001:db8::/32")), {60000}),
        (ConnectionFilter(client=IPv6Network("::/0")), {60000}),
        (ConnectionFilter(service=ServiceKey(Protocol.TCP, VIP, 80)), {40000}),
        (ConnectionFilter(service=ServiceKey(Protocol.TCP, VIP, 0)), {40000, 40001}),
        (ConnectionFilter(service=ServiceKey(Protocol.UDP, VIP, 80)), {40002}),
        (ConnectionFilter(real=REAL), {40000, 40002}),
        (ConnectionFilter(real=REAL, real_port=80), set()),
        (ConnectionFilter(real=OTHER_REAL, real_port=80), {40001, 50000, 60000}),
        (ConnectionFilter(states=frozenset({"ESTABLISHED"})), {40000, 40001, 60000}),
        (ConnectionFilter(states=frozenset({"UDP", "FIN_WAIT"})), {40002, 50000}),
        (ConnectionFilter(states=frozenset({"NONE"})), set()),
        (ConnectionFilter(real=IPv4Address("10.9.9.9")), set()),
    ],
)
def test_filters(wanted, admitted):
    plane = two_reals(SyntheticPlane())
    far = Slot(IPv6Address("2001:db8::1"), 60000, IPv6Address("2001:db8::100"), 80, real=1)
    plane.put_all([
        ONE, OTHER, far,
        replace(ONE, client_port=40001, vip_port=443, real=1),
        replace(ONE, client=OTHER_CLIENT, client_port=40002, protocol=Protocol.UDP, state=0),
    ])  # fmt: skip
    assert {one.client_port for one in read(plane, wanted)} == admitted
    assert {one.client_port for one in read(plane) if wanted.admits(one)} == admitted


MARK_7 = replace(TEMPLATE, protocol=Protocol.IP, vip=IPv4Address(7), vip_port=0)


@pytest.mark.parametrize(
    ("slot", "ends"),
    [
        (TEMPLATE, "TCP 06:00  ASSURED     198.51.100.7:0     192.0.2.100:80     10.1.0.10:8080"),
        (replace(TEMPLATE, state=0, vip_port=0),
         "TCP 06:00  NONE        198.51.100.7:0     192.0.2.100:0      10.1.0.10:0"),
        (replace(TEMPLATE, disabled=True, seen=NOW - 350),
         "TCP 00:10  ASSURED     198.51.100.7:0     192.0.2.100:65535  10.1.0.10:65535"),
        (replace(MARK_7, client=IPv4Address("198.51.100.0"), state=0, seen=NOW - 312),
         "IP  00:48  NONE        198.51.100.0:0     0.0.0.7:0          10.1.0.10:0"),
        (replace(MARK_7, vip=IPv4Address(0xDEADBEEF)),
         "IP  06:00  ASSURED     198.51.100.7:0     222.173.190.239:0  10.1.0.10:0"),
        (replace(MARK_7, disabled=True),
         "IP  06:00  ASSURED     198.51.100.7:0     0.0.0.7:65535      10.1.0.10:65535"),
        (replace(ONE, own_port=True, vip_port=443),
         "TCP 15:00  ESTABLISHED 198.51.100.7:40000 192.0.2.100:443    10.1.0.10:443"),
    ],
)  # fmt: skip
def test_what_persistence_leaves_is_listed_as_the_kernel_lists_it(slot, ends):
    plane = two_reals(SyntheticPlane())
    plane.put(1, slot)
    assert "".join(Reader(plane, now=lambda: NOW).lines(NUMERIC)) == ends + "\n"


@pytest.mark.parametrize(
    ("wanted", "vip_ports"),
    [
        (ConnectionFilter(service=ServiceKey(Protocol.TCP, VIP, 0)), [0, 80, 443, 65535, 65535]),
        (ConnectionFilter(service=ServiceKey(Protocol.TCP, VIP, 80)), [80]),
        (ConnectionFilter(service=ServiceKey(Protocol.TCP, VIP, 65535)), [65535, 65535]),
        (ConnectionFilter(service=ServiceKey(Protocol.IP, IPv4Address(7), 0)), [0]),
        (ConnectionFilter(real=REAL, real_port=8080), [80]),
        (ConnectionFilter(real=REAL, real_port=443), [443]),
        (ConnectionFilter(real=REAL, real_port=0), [0, 0]),
        (ConnectionFilter(real=REAL, real_port=65535), [65535, 65535]),
        (ConnectionFilter(states=frozenset({"ASSURED"})), [0, 0, 80, 65535, 65535]),
    ],
)
def test_filters_see_templates_as_they_are_listed(wanted, vip_ports):
    plane = two_reals(SyntheticPlane())
    plane.put_all([
        replace(ONE, phase=FREE),
        TEMPLATE, MARK_7, replace(TEMPLATE, vip_port=0), replace(TEMPLATE, disabled=True),
        replace(TEMPLATE, vip_port=0, disabled=True),
        replace(ONE, own_port=True, vip_port=443),
    ])  # fmt: skip
    assert sorted(one.vip_port for one in read(plane, wanted)) == vip_ports


def test_counts_keep_templates_apart():
    plane = two_reals(SyntheticPlane())
    plane.put_all([ONE, TEMPLATE, replace(ONE, client_port=1)])
    kinds = Reader(plane, now=lambda: NOW).counts()
    assert Counter((kind.state, kind.template) for kind in kinds.elements()) == {
        ("ESTABLISHED", False): 2,
        ("ASSURED", True): 1,
    }
