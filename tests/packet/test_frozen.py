"""Timeouts by a clock that a test moves: connections end when theirs is over, and not before."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onevip.engines.bpf import shapes
from onevip.engines.bpf.codec import key_bytes
from onevip.model import (
    AddRealServer,
    AddService,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
    Timeouts,
)
from packet import frames
from packet.frozen.director import FrozenDirector
from packet.network import BACK
from packet.wire import CLIENT, REAL, VIP, mac_of

#: Packets of a connection through NAT, and for how many seconds it then stays (spec ipvs 3.2).
#: Capitals come from the client.
LIVES = {
    "S": 60,
    "S sa": 60,
    "S sa A": 900,
    "S sa A FA": 60,
    "S sa A fa": 120,
    "S sa A FA fa": 120,
    "S sa A R": 10,
    "S ra": 10,
}


def served(frozen: FrozenDirector, protocol: Protocol, port: int) -> ServiceKey:
    """A service of one real server, each test its own."""
    service = ServiceKey(protocol, IPv4Address(VIP), port)
    real = RealServer(IPv4Address(REAL), port, ForwardingMethod.MASQ)
    frozen.engine.apply([AddService(service, "rr"), AddRealServer(service, real)])
    return service


def connections(frozen: FrozenDirector, service: ServiceKey) -> int:
    counters = frozen.engine.snapshot(service).counters[service, None]
    return counters.active + counters.inactive


def assert_stays_for(frozen: FrozenDirector, service: ServiceKey, seconds: float) -> None:
    """Within the clock's unit."""
    frozen.advance(seconds - 1)
    frozen.sweep()
    assert connections(frozen, service) == 1
    frozen.advance(2)
    frozen.sweep()
    assert connections(frozen, service) == 0


@pytest.mark.parametrize(("nr", "life"), list(enumerate(LIVES)), ids=LIVES)
def test_a_tcp_connection_stays_as_long_as_its_state_says(
    frozen: FrozenDirector, nr: int, life: str
) -> None:
    port = 1000 + nr
    service = served(frozen, Protocol.TCP, port)
    for flags in life.split():
        if flags.isupper():
            out = frozen.road(frames.tcp(CLIENT, 40000, VIP, port, flags))
        else:
            back = frames.tcp(REAL, port, CLIENT, 40000, flags.upper(), to=BACK, by=mac_of(REAL))
            out = frozen.road(back)
        assert out.verdict == "forwarded"
    assert_stays_for(frozen, service, LIVES[life])


def test_each_packet_begins_a_timeout_anew(frozen: FrozenDirector) -> None:
    service = served(frozen, Protocol.UDP, 2000)
    for _ in range(3):
        frozen.road(frames.udp(CLIENT, 40000, VIP, 2000))
        frozen.advance(299)
        frozen.sweep()
        assert connections(frozen, service) == 1
    frozen.road(frames.udp(REAL, 2000, CLIENT, 40000, to=BACK, by=mac_of(REAL)))
    assert_stays_for(frozen, service, 300)


def test_a_timeout_that_is_set_holds_for_those_that_are_there(frozen: FrozenDirector) -> None:
    service = served(frozen, Protocol.UDP, 2001)
    frozen.road(frames.udp(CLIENT, 40000, VIP, 2001))
    frozen.engine.set_timeouts(Timeouts(udp_s=20))
    try:
        frozen.road(frames.udp(CLIENT, 40000, VIP, 2001))
        assert_stays_for(frozen, service, 20)
    finally:
        frozen.engine.set_timeouts(Timeouts())


def test_nothing_ends_while_nobody_moves_the_clock(frozen: FrozenDirector) -> None:
    service = served(frozen, Protocol.TCP, 2002)
    frozen.road(frames.tcp(CLIENT, 40000, VIP, 2002, "S"))
    for _ in range(300):
        frozen.sweep()
    assert connections(frozen, service) == 1


def test_what_is_forgotten_is_gone(frozen: FrozenDirector) -> None:
    service = served(frozen, Protocol.TCP, 2003)
    frozen.road(frames.tcp(CLIENT, 40000, VIP, 2003, "S"))
    frozen.forget()
    assert not frozen.engine.read()
    assert not list(frozen.engine.connections())
    served(frozen, Protocol.TCP, 2003)
    assert connections(frozen, service) == 0
    frozen.road(frames.tcp(CLIENT, 40000, VIP, 2003, "S"))
    assert connections(frozen, service) == 1


def test_a_sum_that_a_writer_set_back_is_no_rate(frozen: FrozenDirector) -> None:
    """A writer adds what a deleted server counted while the sweeper adds, too: it may be lost."""
    service = served(frozen, Protocol.UDP, 2004)
    index = frozen.plane.service_ids.get(key_bytes(service))
    estimates = frozen.plane.service_estimates
    for name in shapes.TOTALS.fields:
        estimates.set(index, f"last.{name}", 7)
        estimates.set(index, f"now.{name}", 5)
    frozen.advance(2)
    frozen.estimate()
    rates = [estimates.get(index, f"rates.{name}") for name in shapes.TOTALS.fields]
    assert rates == [0, 0, 0, 0, 0]
