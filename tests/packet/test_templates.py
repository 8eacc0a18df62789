"""Templates and the connections under them: who counts whom, over sweeps and tables."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onevip.model import (
    AddRealServer,
    AddService,
    Counters,
    DeleteRealServer,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
    ServiceOptions,
)
from packet import frames
from packet.frozen.director import FrozenDirector
from packet.wire import OTHER_REAL, REAL, VIP

WEB = ServiceKey(Protocol.TCP, IPv4Address(VIP), 80)
REALS = [RealServer(IPv4Address(one), 80, ForwardingMethod.MASQ) for one in (REAL, OTHER_REAL)]
CLIENTS = 40
PERSISTENT_S = 50


@pytest.fixture
def web(frozen: FrozenDirector) -> FrozenDirector:
    frozen.forget()
    frozen.engine.apply([AddService(WEB, "rr", ServiceOptions(persistent_s=PERSISTENT_S))])
    frozen.engine.apply([AddRealServer(WEB, real) for real in REALS])
    return frozen


def opened(web: FrozenDirector, port: int) -> list[str]:
    """Whom each client's new connection went to."""
    outcomes = [
        web.road(frames.tcp(f"10.0.64.{number}", port, VIP, 80, "S"))
        for number in range(1, CLIENTS + 1)
    ]
    return [outcome.seen.destination for outcome in outcomes]


def counted(web: FrozenDirector) -> Counters:
    return web.engine.snapshot(WEB).counters[WEB, None]


def held(web: FrozenDirector) -> tuple[int, int]:
    """Connections and templates in the table."""
    found = [one.template for one in web.engine.connections()]
    return found.count(False), found.count(True)


def until_all_ended(web: FrozenDirector) -> None:
    """Half-open ones after a minute, then the templates: renewed for one while not alone."""
    for _ in range(60 + 60 + 1):
        web.advance(1)
        web.sweep()
    assert held(web) == (0, 0)


def test_orphans_end_and_their_places_serve_again(web: FrozenDirector) -> None:
    opened(web, 40000)
    assert held(web) == (CLIENTS, CLIENTS)
    web.engine.set_tunable("expire_nodest_conn", 1)
    web.engine.apply([DeleteRealServer(WEB, real.key) for real in REALS])
    web.sweep()
    assert held(web)[0] == 0
    web.sweep()  # those that it met before the connections under them
    assert held(web) == (0, 0)
    web.engine.apply([AddRealServer(WEB, real) for real in REALS])
    servers = opened(web, 40000)
    assert servers == opened(web, 40001)
    assert (counted(web).active, counted(web).persistent) == (2 * CLIENTS, CLIENTS)


def test_templates_lead_to_the_same_servers_from_table_to_table(web: FrozenDirector) -> None:
    servers = opened(web, 40000)
    web.engine.set_limit(1 << 14)
    web.engine.grow()
    assert len(web.engine.room().tables) == 2
    assert opened(web, 40001) == servers
    assert held(web) == (2 * CLIENTS, CLIENTS)
    until_all_ended(web)
    assert counted(web).persistent == 0
    assert web.plane.tables.retire()
    opened(web, 40002)
    assert held(web) == (CLIENTS, CLIENTS)
    until_all_ended(web)
    assert web.plane.tables.shrink()  # as it was, for whoever comes next
    assert web.plane.tables.retire()
