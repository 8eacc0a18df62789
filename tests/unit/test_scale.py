"""What is said of a thousand real servers takes a thousand times what is said of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from onevip.daemon import ldirectord_words, words
from onevip.daemon.events import TableChanged
from onevip.health import State, Verdict
from onevip.model import (
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    EditRealServer,
    Phase,
    Protocol,
    RealServer,
    ServiceKey,
    Table,
    VirtualService,
)

SERVICE = ServiceKey(Protocol.TCP, IPv4Address("192.0.2.1"), 80)
DOWN = State(1, verdict=Verdict.DOWN)


class Compared(IPv4Address):
    """An address that counts how often any is compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    __hash__ = IPv4Address.__hash__


def _all_down(number: int) -> list[TableChanged]:
    first = int(IPv4Address("10.0.0.1"))
    reals = [RealServer(Compared(first + n), 80, weight=1) for n in range(number)]
    checks = [Check(CheckType.CONNECT, real.address, 80, 1.0, 1.0) for real in reals]
    servers = tuple(map(ConfiguredRealServer, reals, checks))
    configuration = Configuration("www.cf", (ConfiguredService(SERVICE, "wrr", servers),))
    before = Table.of([VirtualService(SERVICE, "wrr", tuple(reals))])
    changes = [EditRealServer(SERVICE, replace(real, weight=0)) for real in reals]
    return [TableChanged(one, before, Phase.RUNNING, configuration, DOWN) for one in changes]


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(ldirectord_words.sentences, id="ldirectord's log"),
        pytest.param(ldirectord_words.subjects, id="mails"),
        pytest.param(
            lambda event: words.change(event.change, event.before, event.configuration),
            id="onevip's log",
        ),
    ],
)
def test_what_is_said_of_many_changes_does_not_grow_faster_than_they(
    say: Callable[[TableChanged], object],
) -> None:
    number = 200
    events = _all_down(number)
    Compared.times = 0

    for event in events:
        assert say(event)

    assert Compared.times < 20 * number


def test_an_edit_compares_no_real_servers_but_the_one_it_is_for() -> None:
    number = 200
    events = _all_down(number)
    table = events[0].before
    Compared.times = 0

    for event in events:
        table = table.apply([event.change])

    assert Compared.times < 20 * number
    assert all(real.is_quiescent for service in table for real in service.real_servers)
