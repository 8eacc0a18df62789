"""A service's list of real servers, and where rr and wrr stand in it after a change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onevip.schedulers import Member, ServerList
from packet.kernel_lists import KernelList, Server


def listed(scheduler: str, *weights: int) -> ServerList:
    """Servers 1, 2, 3 … added in this order."""
    servers = ServerList(scheduler)
    for real, weight in enumerate(weights, 1):
        servers = servers.with_added(Member(real, weight))
    return servers


def choose(servers: ServerList) -> tuple[int | None, ServerList]:
    """The walk of the data plane (bpf/turns.h) from the place that the list names."""
    weighted = servers.scheduler == "wrr"
    step, highest = (servers.divisor, servers.max_weight) if weighted else (1, 1)
    at, bar = servers.position, (servers.current_weight if weighted else 1) or highest
    if not highest:
        return None, servers
    for _ in range(2 * len(servers.members)):
        if at >= len(servers.members):
            at, bar = 0, bar - step if bar > step else highest
        member = servers.members[at]
        at += 1
        if member.weight >= bar:
            place = replace(servers, position=at, current_weight=bar if weighted else 0)
            return member.real, place
    return None, servers


def choices(servers: ServerList, times: int) -> tuple[str, ServerList]:
    found = ""
    for _ in range(times):
        real, servers = choose(servers)
        found += str(real)
    return found, servers


# The list.


def test_the_most_recently_added_is_first() -> None:
    assert [member.real for member in listed("rr", 1, 1, 1).members] == [3, 2, 1]


def test_an_edit_moves_nobody() -> None:
    edited = listed("wlc", 1, 1, 1).with_weight(2, 9)
    assert edited.members == (Member(3, 1), Member(2, 9), Member(1, 1))


def test_a_deleted_server_that_comes_back_is_first() -> None:
    servers = listed("rr", 1, 1, 1).with_removed(1).with_added(Member(1, 1))
    assert [member.real for member in servers.members] == [1, 3, 2]


@pytest.mark.parametrize(
    ("weights", "divisor", "highest"),
    [
        ((), 1, 0),
        ((0,), 1, 0),
        ((0, 0), 1, 0),
        ((1,), 1, 1),
        ((4, 3, 2), 1, 4),
        ((6, 4, 2), 2, 5),
        ((6, 0, 4), 2, 5),
        ((5,), 5, 1),
        ((100, 100), 100, 1),
    ],
)
def test_the_steps_of_wrr(weights: tuple[int, ...], divisor: int, highest: int) -> None:
    servers = listed("wrr", *weights)
    assert (servers.divisor, servers.max_weight) == (divisor, highest)


# rr


def test_rr_goes_on_after_its_last_choice_when_one_is_added() -> None:
    found, servers = choices(listed("rr", 1, 1, 1), 2)
    assert found == "32"
    assert choices(servers.with_added(Member(4, 1)), 4)[0] == "1432"


def test_rr_that_has_not_begun_begins_with_the_one_that_is_added() -> None:
    assert choices(listed("rr", 1, 1).with_added(Member(3, 1)), 3)[0] == "321"


def test_rr_whose_first_choice_was_deleted_begins_with_the_one_that_is_added() -> None:
    _, servers = choices(listed("rr", 1, 1, 1), 1)
    assert choices(servers.with_removed(3).with_added(Member(4, 1)), 4)[0] == "4214"


@pytest.mark.parametrize(
    ("deleted", "then"),
    [(3, "121"), (2, "131"), (1, "323")],
    ids=["before the last choice", "the last choice", "after it"],
)
def test_rr_after_a_deletion(deleted: int, then: str) -> None:
    found, servers = choices(listed("rr", 1, 1, 1), 2)
    assert found == "32"
    assert choices(servers.with_removed(deleted), 3)[0] == then


def test_rr_is_not_moved_by_an_edit() -> None:
    _, servers = choices(listed("rr", 1, 1, 1), 1)
    assert choices(servers.with_weight(3, 5), 3)[0] == "213"


# wrr


def test_wrr_built_from_nothing_begins_with_a_pass_at_1() -> None:
    """Seen on the kernel: the current weight survives additions."""
    assert choices(listed("wrr", 4, 3, 2), 9)[0] == "321121321"


@pytest.mark.parametrize(
    ("current", "weights", "then"),
    [
        (0, (4, 3, 2), 4),  # 0: begin at the highest
        (9, (4, 3, 2), 4),  # over the highest: the same
        (3, (4, 3, 2), 3),  # divisor 1: stays
        (4, (9, 3), 4),  # divisor 3: 4 // 3 * 3 + 1
        (5, (9, 3), 4),
        (2, (9, 3), 1),
        (7, (9, 3), 7),
        (3, (0, 0), 0),  # nobody has weight: over the highest
    ],
)
def test_wrrs_current_weight_fits_the_new_weights(
    current: int, weights: tuple[int, ...], then: int
) -> None:
    servers = replace(listed("wrr", *weights), current_weight=current, position=1)
    changed = servers.with_weight(1, weights[0])
    assert (changed.current_weight, changed.position) == (then, 0)


@pytest.mark.parametrize("change", ["add", "delete", "edit"])
def test_every_change_sends_wrr_back_to_the_head(change: str) -> None:
    _, servers = choices(listed("wrr", 1, 1, 1), 2)
    changed = {
        "add": lambda: servers.with_added(Member(4, 1)),
        "delete": lambda: servers.with_removed(1),
        "edit": lambda: servers.with_weight(1, 1),
    }[change]()
    assert (servers.position, changed.position) == (2, 0)


# Another scheduler.


def test_another_scheduler_begins_anew() -> None:
    _, servers = choices(listed("rr", 4, 3, 2), 2)
    weighted = servers.with_scheduler("wrr")
    assert (weighted.position, weighted.current_weight) == (0, 4)
    assert weighted.with_scheduler("rr") == ServerList("rr", servers.members)


def test_the_same_scheduler_goes_on() -> None:
    _, servers = choices(listed("wrr", 4, 3, 2), 2)
    assert servers.with_scheduler("wrr") is servers


# Against the kernel's walk.

WEIGHTS = st.sampled_from([0, 1, 2, 3, 4, 6, 9, 10, 100])
STEP = st.one_of(
    st.tuples(st.just("choose")),
    st.tuples(st.just("add"), WEIGHTS),
    st.tuples(st.just("delete"), st.integers(0, 99)),
    st.tuples(st.just("edit"), st.integers(0, 99), WEIGHTS),
)


@settings(max_examples=400, deadline=None)
@given(
    scheduler=st.sampled_from(["rr", "wrr"]),
    built=st.lists(WEIGHTS, max_size=5),
    steps=st.lists(STEP, max_size=40),
)
def test_any_list_under_any_changes_walks_as_the_kernels(
    scheduler: str, built: list[int], steps: list[tuple[object, ...]]
) -> None:
    ours, kernels = ServerList(scheduler), KernelList(scheduler)
    numbers = 0
    for what, *arguments in [*(("add", weight) for weight in built), *steps]:
        known = [server.number for server in kernels.servers]
        if what == "choose":
            real, ours = choose(ours)
            assert real == kernels.choose()
        elif what == "add":
            numbers += 1
            ours = ours.with_added(Member(numbers, int(str(arguments[0]))))
            kernels.add(Server(numbers, int(str(arguments[0]))))
        elif known:
            which, *weight = (int(str(argument)) for argument in arguments)
            number = known[which % len(known)]
            if what == "delete":
                ours = ours.with_removed(number)
                kernels.delete(number)
            else:
                ours = ours.with_weight(number, weight[0])
                kernels.edit(number, weight[0])
        assert [member.real for member in ours.members] == [s.number for s in kernels.servers]
