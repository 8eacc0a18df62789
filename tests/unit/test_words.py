"""What the daemon's log says of a change."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onevip.daemon import words
from onevip.model import (
    AddRealServer,
    AddService,
    Configuration,
    DeleteRealServer,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    Table,
    VirtualService,
)

WEB = ServiceKey(Protocol.TCP, IPv4Address("192.0.2.1"), 80)
REAL = RealServer(IPv4Address("10.1.0.10"), 80, ForwardingMethod.MASQ, 3, 100, 50)
MASK = IPv4Address("255.255.255.0")
SH_FLAGS = "sh-fallback, sh-port"
PERSISTENT = ServiceOptions(persistent_s=300)
NOTHING = Configuration(file="", services=())


@pytest.mark.parametrize(
    ("key", "scheduler", "options", "said"),
    [
        (WEB, "rr", ServiceOptions(), "tcp 192.0.2.1:80 added, scheduler rr"),
        (WEB, "rr", PERSISTENT, "tcp 192.0.2.1:80 added, scheduler rr, persistent 300 s"),
        (
            ServiceKey.of_mark(7),
            "sh",
            ServiceOptions(SchedulerFlag.PORT | SchedulerFlag.FALLBACK, 60, MASK, one_packet=True),
            f"fwm 7 added, scheduler sh, persistent 60 s, mask {MASK}, one-packet, {SH_FLAGS}",
        ),
    ],
)
def test_a_service_is_added_with_its_options(key, scheduler, options, said):
    change = AddService(key, scheduler, options)
    assert words.change(change, Table.of(), NOTHING) == f"virtual service {said}"


@pytest.mark.parametrize(
    ("scheduler", "options", "said"),
    [
        ("rr", PERSISTENT, "scheduler wlc -> rr"),
        ("wlc", ServiceOptions(), "persistent 300 s -> no options"),
        (
            "wlc",
            ServiceOptions(persistent_s=300, netmask=MASK),
            "persistent 300 s -> persistent 300 s, mask 255.255.255.0",
        ),
        (
            "mh",
            ServiceOptions(SchedulerFlag.PORT),
            "scheduler wlc -> mh, persistent 300 s -> mh-port",
        ),
    ],
)
def test_an_edit_of_a_service_says_what_changes(scheduler, options, said):
    before = Table.of([VirtualService(WEB, "wlc", options=PERSISTENT)])
    change = EditService(WEB, scheduler, options)
    assert words.change(change, before, NOTHING) == f"virtual service tcp 192.0.2.1:80: {said}"


def test_thresholds_are_said_where_they_change():
    plain = RealServer(REAL.address, 80, ForwardingMethod.MASQ, 3)
    empty, full, bare = (
        Table.of([VirtualService(WEB, "rr", reals)]) for reals in ((), (REAL,), (plain,))
    )
    start = "real server 10.1.0.10:80 of tcp 192.0.2.1:80: "
    assert words.change(AddRealServer(WEB, REAL), empty, NOTHING) == (
        f"{start}added with weight 3, upper threshold 0 -> 100, lower threshold 0 -> 50"
    )
    assert words.change(EditRealServer(WEB, plain), full, NOTHING) == (
        f"{start}weight stays 3, upper threshold 100 -> 0, lower threshold 50 -> 0"
    )
    assert words.change(EditRealServer(WEB, plain), bare, NOTHING) == f"{start}weight stays 3"
    assert words.change(DeleteRealServer(WEB, REAL.key), full, NOTHING) == (
        f"{start}removed, weight was 3"
    )
