"""Every scheduler's rule and ties (spec ipvs §4), by itself: lists in, a server out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onevip.model import SchedulerFlag
from onevip.model.service import SCHEDULERS
from onevip.schedulers.by_name import BY_NAME
from onevip.schedulers.destination_cache import MOST_ENTRIES, DestinationCache
from onevip.schedulers.rings import maglev_hash, maglev_table
from onevip.schedulers.scheduler import Request, Scheduler
from onevip.schedulers.wrr import WeightedRoundRobin
from packet.kernel_lists import KernelList, Server

VIP = IPv4Address("192.0.2.100")
TUNABLES = {"lblc_expiration": 86400, "lblcr_expiration": 86400}
DAY, MINUTE = 86400.0, 60.0


@dataclass(eq=False)
class Real:
    """A server as schedulers see it, with a name of one letter."""

    name: str
    weight: int = 1
    active: int = 0
    inactive: int = 0
    overloaded: bool = False
    available: bool = True
    address: IPv4Address | IPv6Address = field(default=IPv4Address("10.1.0.1"))
    port: int = 80
    last_weight: int = 0

    def __post_init__(self) -> None:
        self.last_weight = self.last_weight or self.weight


def reals(*weights: int, names: str = "ABCDEFGH") -> list[Real]:
    """In list order: A is the head."""
    return [Real(name, weight) for name, weight in zip(names, weights, strict=False)]


class Service:
    """A list and its scheduler."""

    def __init__(self, name: str, servers: Sequence[Real] = (), flags: int = 0) -> None:
        self.servers = list(servers)
        self.flags = SchedulerFlag(flags)
        self.now = 0.0
        self.dice: Callable[[int], int] = Random(1).randrange
        self.scheduler: Scheduler[Real] = BY_NAME[name](self.servers)

    def have(self, *servers: Real) -> None:
        before, self.servers = self.servers, list(servers)
        self.scheduler.changed(before, self.servers)

    def edit(self, server: Real, weight: int) -> None:
        server.weight = weight
        server.last_weight = weight or server.last_weight
        self.have(*self.servers)

    def choose(self, client: str = "10.0.0.1", port: int = 40000, vip: object = VIP) -> str:
        request = Request(
            IPv4Address(client), port, IPv4Address(str(vip)), self.flags, self.now, self.dice,
            TUNABLES,
        )  # fmt: skip
        found = self.scheduler.choose(self.servers, request)
        return found.name if found else "-"

    def choices(self, times: int) -> str:
        return "".join(self.choose() for _ in range(times))


def test_there_is_one_for_every_name() -> None:
    assert list(BY_NAME) == list(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_of_nobody_nobody_is_chosen(name: str) -> None:
    assert Service(name).choose() == "-"
    assert Service(name, reals(0, 0)).choose() == "-"
    overloaded = reals(1, 1)
    for server in overloaded:
        server.overloaded = True
    assert Service(name, overloaded).choose() == "-"


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "none"])
def test_the_only_eligible_one_is_chosen_by_all_that_do_not_hash(name: str) -> None:
    a, b, c = reals(0, 3, 5)
    c.overloaded = True
    flags = SchedulerFlag.FALLBACK if name in ("sh", "mh") else 0
    servers = [b] if name == "dh" else [a, b, c]
    assert Service(name, servers, flags).choices(5) == "BBBBB"


# rr, wrr.


def test_rr_takes_turns_and_skips() -> None:
    service = Service("rr", reals(1, 5, 1, 1))
    assert service.choices(6) == "ABCDAB"
    service.servers[2].overloaded = True
    service.edit(service.servers[0], 0)
    assert service.choices(3) == "DBD"


def test_rr_begins_at_the_head_until_somebody_was_chosen() -> None:
    """(14) Servers 1, 2, 3 added: 3, 2, 1 chosen."""
    service = Service("rr")
    for server in reals(1, 1, 1, names="123"):
        service.have(server, *service.servers)
    assert service.choices(5) == "32132"


def test_rr_moves_back_when_the_last_chosen_one_is_deleted() -> None:
    a, b, c, d = reals(1, 1, 1, 1)
    service = Service("rr", [a, b, c, d])
    assert service.choices(2) == "AB"
    service.have(a, c, d)
    assert service.choices(2) == "CD"
    service.have(c, d)
    service.have(a, c, d)
    assert service.choices(1) == "A"
    service.have(c, d)  # back to the list's head
    assert service.choices(1) == "C"


@pytest.mark.parametrize(
    ("weights", "steady"),
    [((4, 3, 2), "AABABCABC"), ((6, 4, 2), "AABABC"), ((1, 1, 1), "ABC"), ((5, 0, 5), "AC")],
)
def test_wrr_in_steady_state(weights: tuple[int, ...], steady: str) -> None:
    service = Service("wrr", reals(*weights))
    assert service.choices(3 * len(steady)) == 3 * steady


def test_wrr_of_a_freshly_built_service() -> None:
    """Its bar is left over from the first addition (spec ipvs §4.2, seen live)."""
    service = Service("wrr")
    for server in reals(4, 3, 2, names="123"):
        service.have(server, *service.servers)
    assert service.choices(9) == "321121321"


def test_a_change_fits_wrrs_bar_to_the_new_steps() -> None:
    """Weights 9 and 6 have bars 7, 4, 1; 10 and 6 have 9, 7, 5, 3, 1: from 4 it goes to 5."""
    a, b = reals(9, 6)
    service = Service("wrr", [a, b])
    assert service.choices(2) == "AA"
    service.edit(a, 10)
    service.have(Real("C", 4), a, b)
    assert service.choices(6) == "ABCABC"


Change = tuple[str, int, int]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "delete", "edit", "choose", "busy"]),
              st.integers(0, 5), st.sampled_from([0, 1, 2, 3, 4, 6, 9, 10])),
    max_size=30,
)  # fmt: skip


@pytest.mark.parametrize("name", ["rr", "wrr", "lc", "wlc", "sed", "nq"])
@given(weights=st.lists(st.sampled_from([1, 2, 4, 6, 9]), min_size=1, max_size=4), changes=CHANGES)
@settings(max_examples=100, deadline=None)
def test_as_over_a_linked_list(name: str, weights: list[int], changes: list[Change]) -> None:
    """Against another program of the same rules, over any sequence of edits and choices."""
    service, kernel = Service(name), KernelList(name)
    first = [("add", number, weight) for number, weight in enumerate(weights)]
    for what, which, weight in [*first, *changes]:
        found = {real.name: real for real in service.servers}
        real = found.get(str(which))
        if what == "add" and real is None:
            service.have(Real(str(which), weight, last_weight=1), *service.servers)
            kernel.add(Server(which, weight))
        elif what == "choose":
            for _ in range(which + 1):
                number = kernel.choose()
                assert service.choose() == ("-" if number is None else str(number))
        elif real is None:
            continue
        elif what == "delete":
            service.have(*(other for other in service.servers if other is not real))
            kernel.delete(which)
        elif what == "edit":
            service.edit(real, weight)
            kernel.edit(which, weight)
        elif what == "busy":
            real.active = kernel.server(which).active = weight
            real.inactive = kernel.server(which).inactive = 300 * (weight % 3)


def walked(
    servers: Sequence[Real], at: int, bar: int, step: int, highest: int
) -> tuple[Real | None, int, int]:
    """The kernel's walk with overloaded servers, place by place: chosen, its place, the bar.

    `at` is the place of the last chosen one, -1: the list's head. It gives up when everybody was
    checked for weight 1: a whole walk at the lowest bar, or the two parts of one. The mark then
    stays where the walk ended.
    """
    begin, place = at, at
    last_walk = from_top = False
    stop: int | None = None
    while True:
        for here in range(place + 1, len(servers)):
            if not servers[here].overloaded and servers[here].weight >= bar:
                return servers[here], here, bar
            if here == stop:
                return None, begin, bar
        bar, place = bar - step, -1
        if bar <= 0:
            bar = highest
            if last_walk or begin == -1:
                return None, -1, bar
            from_top = True
        last_walk = bar <= step
        if last_walk and from_top and begin != -1:
            stop = begin


@given(
    weights=st.lists(st.sampled_from([0, 1, 2, 3, 4, 6]), min_size=1, max_size=5),
    rounds=st.lists(st.sets(st.integers(0, 4)), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_wrr_gives_up_as_the_kernel_does(weights: list[int], rounds: list[set[int]]) -> None:
    servers = reals(*weights)
    service = Service("wrr", servers)
    step = math.gcd(*weights) or 1
    highest = max(weights) - (step - 1)
    at, bar = -1, highest
    for overloaded in rounds:
        for number, server in enumerate(servers):
            server.overloaded = number in overloaded
        if not max(weights):
            assert service.choose() == "-"
            continue
        chosen, at, bar = walked(servers, at, bar, step, highest)
        assert service.choose() == (chosen.name if chosen else "-")
        assert isinstance(service.scheduler, WeightedRoundRobin)
        assert service.scheduler.bar == bar


def test_wrr_goes_on_at_the_head_when_nobody_was_free() -> None:
    """As seen on Linux 6.12 with thresholds: B, both overloaded, refused, both free, B, A."""
    servers = a, b = reals(1, 2)
    service = Service("wrr", servers)
    assert service.choose() == b.name
    a.overloaded = b.overloaded = True
    assert service.choose() == "-"
    a.overloaded = b.overloaded = False
    assert [service.choose(), service.choose()] == [b.name, a.name]


# Least connections and their kin.


def busy(*counts: tuple[int, int, int]) -> list[Real]:
    """From weight, active, inactive."""
    return [Real("ABCDE"[n], *one) for n, one in enumerate(counts)]


@pytest.mark.parametrize(
    ("name", "servers", "chosen"),
    [
        ("lc", busy((1, 1, 0), (1, 0, 255), (1, 0, 256)), "B"),
        ("lc", busy((1, 0, 256), (9, 1, 0)), "A"),  # 256 inactive weigh as one active
        ("wlc", busy((1, 1, 0), (3, 2, 255), (3, 3, 0)), "B"),
        ("wlc", busy((2, 2, 0), (4, 4, 0)), "A"),
        ("wlc", busy((1, 0, 0), (9, 0, 0)), "A"),  # nobody is busy: the first
        ("sed", busy((1, 0, 0), (9, 0, 0)), "B"),
        ("sed", busy((1, 0, 99), (2, 1, 0)), "A"),
        ("nq", busy((9, 1, 0), (1, 0, 500), (5, 0, 0)), "B"),
        ("nq", busy((1, 1, 0), (4, 2, 0)), "B"),
        ("nq", busy((0, 0, 0), (4, 2, 0)), "B"),
        ("fo", busy((2, 9, 0), (5, 99, 0), (5, 0, 0)), "B"),
        ("ovf", busy((2, 0, 0), (5, 5, 0), (3, 0, 0)), "B"),
        ("ovf", busy((2, 0, 0), (5, 6, 0), (3, 3, 0)), "C"),
        ("ovf", busy((2, 3, 0), (5, 6, 0)), "-"),
    ],
)
def test_who_is_least_busy(name: str, servers: list[Real], chosen: str) -> None:
    assert Service(name, servers).choose() == chosen


# twos.


@pytest.mark.parametrize(
    ("throws", "busy_b", "chosen"),
    [
        ((0, 0), 0, "A"), ((2, 2), 0, "A"), ((3, 3), 0, "B"), ((5, 5), 9, "B"),
        ((1, 4), 0, "A"),  # as busy: the first pick
        ((1, 4), 9, "A"), ((4, 1), 9, "A"), ((4, 1), 0, "B"),
    ],
)  # fmt: skip
def test_twos_takes_the_less_busy_of_two(throws: tuple[int, int], busy_b: int, chosen: str) -> None:
    """A weighs 2, B 3, a die shows 0 to 5: A is meant by 0, 1, 2."""
    service = Service("twos", reals(2, 3))
    service.servers[1].active = busy_b
    left = list(throws)
    sides = []

    def dice(number: int) -> int:
        sides.append(number)
        return left.pop(0)

    service.dice = dice
    assert service.choose() == chosen
    assert sides == [6, 6]


def test_twos_honours_weights() -> None:
    service = Service("twos", reals(1, 3))
    shares = Counter(service.choices(4000))
    assert 0.36 < shares["A"] / 4000 < 0.44  # 2 of 5: the head has one more


# Hashing (spec ipvs §12.1).


def test_sh_deals_buckets_by_weight() -> None:
    """A has buckets 0, 2, 4, …, B 1, 3, 5, …: 10.0.0.1 is 39, with port 40000 it is 203."""
    service = Service("sh", reals(1, 1))
    assert service.choose("10.0.0.1") == "B"
    assert service.choose("203.0.113.7") == "A"  # 124
    service.edit(service.servers[0], 3)  # three of four
    assert service.choose("192.168.1.100") == "A"  # 89
    assert service.choose("10.0.0.1") == "B"  # 39
    service.flags = SchedulerFlag.PORT
    service.edit(service.servers[0], 1)
    assert service.choose("10.0.0.2") == "B"  # 45
    assert service.choose("203.0.113.7") == "A"  # 32


def test_sh_of_a_quiescent_bucket_refuses_or_falls_back() -> None:
    """(24) 10.0.0.1's bucket is 39: falling back begins at 78."""
    a, b, c = reals(1, 1, 1)
    service = Service("sh", [a, b, c])
    assert service.choose() == "A"  # 39 = 13 · 3
    service.edit(a, 0)
    assert service.choose() == "-"
    assert service.choose("10.0.0.2") == "C"  # 137: nobody else moves
    service.flags = SchedulerFlag.FALLBACK
    assert service.choose() == "B"  # 78 is A's too, 79 is B's
    b.overloaded = True
    assert service.choose() == "C"


def test_sh_falls_back_from_twice_the_bucket() -> None:
    """192.168.1.100's is 89, C's; 90 is A's, but 178 is B's."""
    service = Service("sh", reals(1, 1, 1), SchedulerFlag.FALLBACK)
    service.edit(service.servers[2], 0)
    assert service.choose("192.168.1.100") == "B"


def test_dh_goes_by_destination_and_ignores_weights() -> None:
    service = Service("dh", reals(1, 9))
    assert service.choose(vip="10.0.0.1") == "B"  # 39
    assert service.choose(vip="203.0.113.7") == "A"  # 124
    assert service.choose("10.0.0.9", vip="203.0.113.7") == "A"
    service.edit(service.servers[0], 0)
    assert service.choose(vip="203.0.113.7") == "-"


def maglev(flags: int = 0) -> Service:
    """Spec ipvs §12.1: .1 of weight 2, .2 and .3, added in this order."""
    servers = [
        Real(name, weight, address=IPv4Address(f"10.1.0.{name}"))
        for name, weight in (("3", 1), ("2", 1), ("1", 2))
    ]
    return Service("mh", servers, flags)


def test_mh_as_in_the_kernel() -> None:
    service = maglev()
    clients = ("10.0.0.1", "10.0.0.2", "192.168.1.100")
    assert [service.choose(client) for client in clients] == ["1", "1", "2"]


def test_mh_keeps_a_quiescent_servers_places() -> None:
    service = maglev()
    clients = [f"10.9.{high}.{low}" for high in range(4) for low in range(64)]
    before = [service.choose(client) for client in clients]
    service.edit(service.servers[1], 0)
    after = [service.choose(client) for client in clients]
    assert after == ["-" if one == "2" else one for one in before]
    service.flags = SchedulerFlag.FALLBACK
    fallen = [service.choose(client) for client in clients]
    assert all(a == b for a, b in zip(before, fallen, strict=True) if a != "2")
    assert {b for a, b in zip(before, fallen, strict=True) if a == "2"} == {"1", "3"}


def test_mh_falls_back_by_hashes_of_the_places_from_its_own_on() -> None:
    service = maglev(SchedulerFlag.FALLBACK)
    ring = maglev_table([(s.address, s.port, s.last_weight) for s in service.servers])
    for number in range(12):
        client = IPv4Address("10.9.0.0") + number
        own = maglev_hash(int(client)) % 4093
        tried = [own, *(maglev_hash(int(client) + (own + o) % 4093) % 4093 for o in range(4093))]
        first_other = next(ring[place] for place in tried if ring[place] != ring[own])
        for index, server in enumerate(service.servers):
            server.weight = int(index != ring[own])
        assert service.choose(str(client)) == service.servers[first_other].name


def test_mh_goes_by_port_when_asked() -> None:
    service = maglev(SchedulerFlag.PORT)
    assert len({service.choose("10.0.0.1", port) for port in range(40000, 40040)}) == 3
    assert len({maglev().choose("10.0.0.1", port) for port in range(40000, 40040)}) == 1


# lblc, lblcr.

THERE, ELSEWHERE = "203.0.113.1", "203.0.113.2"


def test_lblc_keeps_a_destination_where_it_is() -> None:
    a, b = reals(1, 1)
    service = Service("lblc", [a, b])
    assert service.choose(vip=THERE) == "A"
    a.active = 1
    assert service.choose(vip=ELSEWHERE) == "B"
    assert service.choose(vip=THERE) == "A"
    a.overloaded = True  # is not asked of who is remembered
    assert service.choose(vip=THERE) == "A"
    a.weight = 0
    assert service.choose(vip=THERE) == "B"
    a.weight, a.overloaded = 1, False
    assert service.choose(vip=THERE) == "B"  # remembered anew


def test_lblc_leaves_who_is_too_busy_while_another_is_half_idle() -> None:
    a, b = reals(4, 4)
    service = Service("lblc", [a, b])
    assert service.choose(vip=THERE) == "A"
    a.active, b.active = 5, 2
    assert service.choose(vip=THERE) == "A"  # B is half busy: 2 · 2 is not below 4
    b.active = 1
    a.active = 4
    assert service.choose(vip=THERE) == "A"  # as many as its weight
    a.active = 5
    assert service.choose(vip=THERE) == "B"


def test_lblc_leaves_who_was_deleted_and_finds_it_again() -> None:
    a, b = reals(1, 1)
    service = Service("lblc", [a, b])
    assert service.choose(vip=THERE) == "A"
    a.available = False
    service.have(b)
    assert service.choose(vip=THERE) == "B"


def test_lblc_forgets_what_nobody_asked_for_a_day() -> None:
    """At the full check, every thirtieth minute."""
    a, b = reals(1, 1)
    service = Service("lblc", [a, b])
    service.choose(vip=THERE)
    a.active = 1
    service.now = DAY - 1
    assert service.choose(vip=THERE) == "A"
    service.now += DAY + 31 * MINUTE
    assert service.choose(vip=THERE) == "B"


def test_lblcr_gives_a_busy_destination_more_servers() -> None:
    a, b, c = reals(2, 2, 2)
    service = Service("lblcr", [a, b, c])
    assert service.choose(vip=THERE) == "A"
    a.active = 3
    assert service.choose(vip=THERE) == "B"
    b.active, c.active = 1, 1
    a.active = 1
    assert service.choose(vip=THERE) == "B"  # both are its own, the latest first
    b.active = 2
    assert service.choose(vip=THERE) == "A"
    c.active = 0
    assert service.choose(vip=THERE) == "A"  # C is not its own, nobody is too busy


def test_lblcr_takes_the_busiest_out_of_a_set_that_did_not_change_for_a_day() -> None:
    a, b, c = reals(2, 2, 2)
    service = Service("lblcr", [a, b, c])
    service.choose(vip=THERE)
    a.active = 3
    assert service.choose(vip=THERE) == "B"
    a.active, b.active = 0, 2
    for service.now in (DAY / 2, DAY):
        assert service.choose(vip=THERE) == "A"
    b.active = 0
    a.active = 1
    assert service.choose(vip=THERE) == "B"  # both are still its own
    a.active, b.active = 0, 2
    service.now = DAY + 1
    assert service.choose(vip=THERE) == "A"  # and B goes
    a.active, b.active, c.active = 2, 0, 1
    assert service.choose(vip=THERE) == "A"


def test_lblcr_counts_the_day_from_the_last_newcomer() -> None:
    a, b = reals(2, 2)
    service = Service("lblcr", [a, b])
    service.choose(vip=THERE)
    a.active, service.now = 3, DAY / 2
    assert service.choose(vip=THERE) == "B"
    a.active, b.active, service.now = 0, 2, DAY + 1
    assert service.choose(vip=THERE) == "A"
    a.active, b.active = 2, 1
    assert service.choose(vip=THERE) == "B"  # it had not gone


def test_lblcr_skips_members_that_may_not_be_given_connections() -> None:
    a, b = reals(2, 2)
    service = Service("lblcr", [a, b])
    assert service.choose(vip=THERE) == "A"
    a.available = False
    service.have(b)
    assert service.choose(vip=THERE) == "B"
    a.available = True
    service.have(a, b)
    b.active = 1
    assert service.choose(vip=THERE) == "A"
    a.overloaded = True
    assert service.choose(vip=THERE) == "B"
    b.weight = 0
    assert service.choose(vip=THERE) == "-"


def test_too_many_destinations_make_room_by_forgetting_idle_ones() -> None:
    cache: DestinationCache[int] = DestinationCache()
    extra = 300
    for number in range(MOST_ENTRIES + extra):
        destination = IPv4Address(number)
        cache.used(destination, 0.0, 86400)
        cache.remember(destination, number, 0.0)
    cache.used(VIP, 359.0, 86400)
    assert len(cache) == MOST_ENTRIES + extra
    cache.used(VIP, 360.0, 86400)
    forgotten = MOST_ENTRIES + extra - len(cache)
    assert extra * 4 // 3 <= forgotten < extra * 4 // 3 + 40  # a chain at a time


def test_the_full_check_of_destinations_comes_every_half_an_hour() -> None:
    cache: DestinationCache[str] = DestinationCache()
    cache.used(VIP, 0.0, 600)
    cache.remember(VIP, "A", 0.0)
    other = IPv4Address("192.0.2.9")
    cache.used(other, 30 * MINUTE - 1 - MINUTE, 600)
    assert len(cache) == 1
    cache.used(other, 30 * MINUTE, 600)
    assert len(cache) == 0


def test_a_destination_that_is_asked_for_is_kept() -> None:
    cache: DestinationCache[str] = DestinationCache()
    cache.used(VIP, 0.0, 600)
    cache.remember(VIP, "A", 0.0)
    assert cache.used(VIP, 1500.0, 600) == "A"
    assert cache.used(VIP, 1800.0, 600) == "A"
