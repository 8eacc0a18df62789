"""Who gets a new connection: rr, wrr, lc, wlc, sed, nq in the kernel's order (spec ipvs §4)."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import count

import pytest

from onevip.model import AddRealServer, Protocol, RealServer
from packet.network import real_address
from packet.wire import CLIENT, MASQ, VIP, Director, Verdict, eth, ip4, tcp, udp

PORTS = count(10000)
SYN = bytes(eth() / ip4(CLIENT, VIP) / tcp(0, 80, "S"))


def name(number: int) -> str:
    """Server 1 is 10.1.0.11 and so on."""
    return real_address(10 + number)


def build(director: Director, scheduler: str, *weights: int) -> None:
    """Servers 1, 2, 3 … added in this order, so that the last stands at the list's head."""
    director.add_service(scheduler)
    director.apply(
        *(
            AddRealServer(director.service, RealServer(IPv4Address(name(number)), 80, MASQ, weight))
            for number, weight in enumerate(weights, 1)
        )
    )


def chosen(director: Director) -> int:
    """The server that a new connection gets."""
    out = director(SYN[:34] + next(PORTS).to_bytes(2) + SYN[36:])
    return number_of(out)


def number_of(out: Verdict) -> int:
    """By the last byte of the destination: Scapy takes its time."""
    return out.frame[33] - 10


def choices(director: Director, times: int) -> str:
    """The servers that so many new connections get: `321321`."""
    return "".join(str(chosen(director)) for _ in range(times))


def close(director: Director, port: int) -> None:
    """A client that was reset: its connection is inactive."""
    director(eth() / ip4(CLIENT, VIP) / tcp(port, 80, "FA"))


# Recorded from a kernel with ip_vs (6.12): who got connection after connection.

RECORDED = {
    "rr over servers added 1, 2, 3": ("rr", (1, 1, 1), "321321321"),
    "rr does not look at weights": ("rr", (4, 1, 2), "321321"),
    "wrr, built from nothing, begins with a pass at 1": ("wrr", (4, 3, 2), "321121321321121321"),
}


@pytest.mark.parametrize(("scheduler", "weights", "sequence"), RECORDED.values(), ids=RECORDED)
def test_the_kernels_sequence(
    director: Director, scheduler: str, weights: tuple[int, ...], sequence: str
) -> None:
    build(director, scheduler, *weights)
    assert choices(director, len(sequence)) == sequence


@pytest.mark.parametrize(
    ("scheduler", "weights", "sequence"),
    [
        # all idle: the heaviest by sed, the first by the others; every connection stays open
        ("lc", (1, 5, 1), "321321"),
        ("wlc", (1, 2, 1), "321232"),
        ("sed", (1, 2, 1), "232123"),
        ("nq", (1, 2, 1), "321223"),
        ("lc", (1, 0, 1), "313131"),
        ("wlc", (0, 1, 0), "2222"),
        ("rr", (0, 1, 1), "3232"),
        ("nq", (1, 0, 1), "3131"),
        ("sed", (4, 3, 2), "123121"),
    ],
)
def test_ties_go_to_the_most_recently_added(
    director: Director, scheduler: str, weights: tuple[int, ...], sequence: str
) -> None:
    build(director, scheduler, *weights)
    assert choices(director, len(sequence)) == sequence
    if scheduler != "rr":
        assert by_the_book(scheduler, weights, sequence) == sequence


def by_the_book(scheduler: str, weights: tuple[int, ...], sequence: str) -> str:
    """The rules of spec ipvs §4.1 with fractions instead of cross multiplication."""
    active = dict.fromkeys(range(len(weights), 0, -1), 0)
    found = ""
    for _ in sequence:
        able = [number for number in active if weights[number - 1]]
        price = {
            "lc": lambda n: 256 * active[n],
            "wlc": lambda n: 256 * active[n] / weights[n - 1],
            "sed": lambda n: (active[n] + 1) / weights[n - 1],
            "nq": lambda n: (active[n] + 1) / weights[n - 1] if active[n] else 0,
        }[scheduler]
        best = min(able, key=price)
        active[best] += 1
        found += str(best)
    return found


@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
def test_inactive_connections_weigh_a_little(director: Director, scheduler: str) -> None:
    """Datagrams are never active."""
    director.add_service(scheduler, Protocol.UDP)
    director.add(name(1), MASQ)
    director.add(name(2), MASQ)
    both = [
        number_of(director(eth() / ip4(CLIENT, VIP) / udp(port, 80)))
        for port in range(20000, 20006)
    ]
    assert both == [2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("scheduler", ["sed", "nq"])
def test_sed_and_nq_do_not_see_inactive_connections(director: Director, scheduler: str) -> None:
    director.add_service(scheduler, Protocol.UDP)
    director.add(name(1), MASQ)
    director.add(name(2), MASQ)
    for port in range(20000, 20006):
        assert number_of(director(eth() / ip4(CLIENT, VIP) / udp(port, 80))) == 2


def test_a_server_that_closed_a_connection_is_preferred(director: Director) -> None:
    build(director, "lc", 1, 1)
    assert choices(director, 4) == "2121"
    first = next(PORTS)
    director(eth() / ip4(CLIENT, VIP) / tcp(first, 80, "S"))  # server 2 has three
    assert director.rows() == {name(2): [1, 3, 0], name(1): [1, 2, 0]}
    close(director, first)
    assert director.rows() == {name(2): [1, 2, 1], name(1): [1, 2, 0]}
    assert chosen(director) == 1


# Lists that change under traffic.


def test_rr_goes_on_after_its_last_choice(director: Director) -> None:
    build(director, "rr", 1, 1, 1)
    assert choices(director, 2) == "32"
    director.add(name(4), MASQ)  # at the head: behind us
    assert choices(director, 5) == "14321"


def test_rr_steps_back_when_its_last_choice_is_deleted(director: Director) -> None:
    build(director, "rr", 1, 1, 1)
    assert choices(director, 2) == "32"
    director.delete(name(2))
    assert choices(director, 3) == "131"


def test_rr_begins_at_the_head_when_its_only_choice_is_deleted(director: Director) -> None:
    build(director, "rr", 1, 1, 1)
    assert choices(director, 1) == "3"
    director.delete(name(3))
    director.add(name(4), MASQ)
    assert choices(director, 4) == "4214"


def test_an_edit_does_not_move_rr(director: Director) -> None:
    build(director, "rr", 1, 1, 1)
    assert choices(director, 1) == "3"
    director.edit(name(1), MASQ, weight=7)
    assert choices(director, 2) == "21"
    director.edit(name(3), MASQ, weight=0)
    assert choices(director, 3) == "212"


def test_a_change_sends_wrr_back_to_the_head(director: Director) -> None:
    build(director, "wrr", 4, 3, 2)
    assert choices(director, 5) == "32112"  # in the middle of the pass at 3
    director.edit(name(1), MASQ, weight=4)
    assert choices(director, 5) == "21321"


def test_a_new_scheduler_begins_anew(director: Director) -> None:
    build(director, "wlc", 4, 3, 2)
    choices(director, 5)
    director.schedule_by("wrr")
    assert choices(director, 9) == "121321321"
    director.schedule_by("rr")
    assert choices(director, 4) == "3213"


def test_the_same_scheduler_again_changes_nothing(director: Director) -> None:
    build(director, "rr", 1, 1, 1)
    assert choices(director, 1) == "3"
    director.schedule_by("rr")
    assert choices(director, 2) == "21"


def test_both_doors_share_one_position(tc: Director, xdp: Director) -> None:
    build(xdp, "rr", 1, 1, 1)
    tc.service = xdp.service
    assert [chosen(door) for door in (tc, xdp, tc, xdp)] == [3, 2, 1, 3]


# Long lists: several chunks of 29.

MANY = 200


def test_two_hundred_real_servers_take_turns(director: Director) -> None:
    """Every round ends with equal counts, so that each scheduler begins at the head."""
    build(director, "rr", *[1] * MANY)
    expected = list(range(MANY, 0, -1))
    for active, scheduler in enumerate(["rr", "wrr", "lc", "wlc", "sed", "nq"], 1):
        director.schedule_by(scheduler)
        assert [chosen(director) for _ in range(MANY)] == expected
        assert list(director.rows().values()) == [[1, active, 0]] * MANY


def test_the_only_one_with_weight_is_found_wherever_it_stands(director: Director) -> None:
    build(director, "rr", *[0] * MANY)
    for scheduler in ("rr", "wrr", "wlc", "sed"):
        director.schedule_by(scheduler)
        for heavy in (1, 29, 30, 142, 171, 172, 200):
            director.edit(name(heavy), MASQ, weight=3)
            assert [chosen(director) for _ in range(3)] == [heavy] * 3
            director.edit(name(heavy), MASQ, weight=0)


def test_deleting_the_middle_of_two_hundred(director: Director) -> None:
    build(director, "rr", *[1] * MANY)
    for number in range(20, 190):
        director.delete(name(number))
    left = [*range(MANY, 189, -1), *range(19, 0, -1)]
    assert [chosen(director) for _ in range(2 * len(left))] == left * 2
