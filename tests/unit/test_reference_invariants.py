"""What holds in the reference whatever happens: its counts are those of its connections."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st

from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
    ServiceOptions,
    TableError,
    Timeouts,
    Zero,
)
from onevip.model.service import SCHEDULERS
from onevip.reference import Decision, Director, Packet, Verdict
from onevip.reference.real_server import LiveRealServer
from scene import CALLS, CLIENT, DNS, GATE, IPIP, MASQ, OTHER, REAL, THIRD, VIP, WEB

EVERY_PORT, MARK = ServiceKey(Protocol.TCP, VIP, 0), ServiceKey.of_mark(7)
SERVICES = st.sampled_from([WEB, DNS, CALLS, EVERY_PORT, MARK])
ADDRESSES = st.sampled_from([REAL, OTHER, THIRD])
REALS = st.builds(
    RealServer, ADDRESSES, st.just(80), st.sampled_from([MASQ, GATE, IPIP]),
    st.integers(0, 3), st.sampled_from([0, 1, 2, 3]), st.sampled_from([0, 1]),
)  # fmt: skip
KEYS = st.builds(RealServerKey, ADDRESSES, st.just(80))
OPTIONS = st.builds(ServiceOptions, persistent_s=st.sampled_from([0, 30]), one_packet=st.booleans())
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(AddService, SERVICES, st.sampled_from(SCHEDULERS), OPTIONS),
    st.builds(EditService, SERVICES, st.sampled_from(SCHEDULERS), OPTIONS),
    st.builds(AddRealServer, SERVICES, REALS),
    st.builds(AddRealServer, SERVICES, REALS),
    st.builds(EditRealServer, SERVICES, REALS),
    st.builds(DeleteRealServer, SERVICES, KEYS),
    st.builds(DeleteService, SERVICES),
    st.builds(Zero, st.none() | SERVICES),
    st.just(Clear()),
)
PACKETS = st.builds(
    lambda client, port, kind, flags, chunk, mark: Packet(
        client, port, VIP, kind[1], kind[0], flags, (chunk,), mark=mark
    ),
    st.sampled_from([CLIENT, IPv4Address("198.51.100.8")]), st.integers(1000, 1002),
    st.sampled_from([(WEB.protocol, 80), (WEB.protocol, 443), (DNS.protocol, 53),
                     (CALLS.protocol, 3868)]),
    st.sampled_from(["S", "S", "A", "FA", "R", ""]), st.sampled_from([1, 1, 10, 0, 7, 6]),
    st.sampled_from([0, 7]),
)  # fmt: skip
TUNINGS = st.sampled_from([
    ("conn_reuse_mode", 0), ("conn_reuse_mode", 3), ("expire_nodest_conn", 1), ("secure_tcp", 3),
    ("expire_quiescent_template", 1), ("sloppy_tcp", 1), ("sloppy_sctp", 1),
])  # fmt: skip
WAITS = st.sampled_from([1.0, 59.0, 400.0])
TIMEOUTS = st.builds(Timeouts, st.integers(1, 900))
#: Of ten events seven are packets: hypothesis would take each kind as often as another.
KINDS = [PACKETS] * 14 + [CHANGES] * 3 + [WAITS, TUNINGS, TIMEOUTS]
EVENTS: st.SearchStrategy[object] = st.integers(0, len(KINDS) - 1).flatmap(KINDS.__getitem__)
BEGINNING: list[Change] = [
    AddService(WEB, "wlc"),
    AddService(DNS, "twos", ServiceOptions(one_packet=True)),
    AddService(CALLS, "rr"),
    AddService(MARK, "rr", ServiceOptions(persistent_s=30)),
    *(
        AddRealServer(key, RealServer(address, key.port, MASQ))
        for key in (WEB, DNS, CALLS, MARK)
        for address in (REAL, OTHER)
    ),
]


@given(st.lists(EVENTS, min_size=20, max_size=40))
@settings(max_examples=120, deadline=None)
def test_counts_are_those_of_connections(events: list[object]) -> None:
    director, now = Director(), 1000.0
    director.apply(BEGINNING, now)
    for event in events:
        match event:
            case float():
                now += event
                director.advance(now)
            case Timeouts():
                director.set_timeouts(event)
            case (str(name), int(value)):
                director.set_tunable(name, value, now)
            case Packet():
                decision = director.receive(event, now)
                check_decision(decision, event)
                answer(director, decision, event, now)
            case _:
                table = director.table()
                try:
                    director.apply([event], now)  # type: ignore[list-item]
                except TableError:
                    assert director.table() is table
        check_counts(director)


def answer(director: Director, decision: Decision, packet: Packet, now: float) -> None:
    """The real server says the same back, by masq: from where it was called, to who called."""
    if decision.connection is None or decision.method is not MASQ:
        return
    reply = Packet(
        decision.connection.real, decision.real_port, packet.source, packet.source_port,
        packet.protocol, packet.flags, packet.chunks,
    )  # fmt: skip
    assert director.receive(reply, now).verdict is Verdict.REPLY


def check_decision(decision: Decision, packet: Packet) -> None:
    """A request leads somewhere, and to the port that was called unless it is rewritten."""
    led = decision.verdict is Verdict.REQUEST
    assert led == (decision.real_server is not None) == (decision.method is not None)
    if led and decision.method is not MASQ:
        assert decision.real_port == packet.destination_port


def check_counts(director: Director) -> None:
    """Of each real server, also of a deleted one; and that of what is listed none is forgotten."""
    services = director._services
    listed = [server for service in services.live.values() for server in service.servers]
    servers = [*listed, *services._trash._held.values()]
    assert all(server.available for server in listed)
    counted = {
        server: (server.active, server.inactive, server.persistent)
        for server in servers
        if server.is_named
    }
    held: dict[LiveRealServer, list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in director._connections:
        held[one.server][0 if one.state.is_active else 1] += 1
        if one.template is not None:
            assert one.template in director._templates._all
    for template in director._templates:
        held[template.server][2] += 1
        led = sum(one.template is template for one in director._connections)
        assert template.connections == led
    assert counted == {server: tuple(numbers) for server, numbers in held.items()}
    assert all(one.expires_s >= 0 for one in director.connections())
    assert len(director.connections()) == sum(map(sum, counted.values()))
