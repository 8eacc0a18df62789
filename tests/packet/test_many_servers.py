"""Long lists: the kernel's choice, at a price that hardly grows with the number of real servers.

What the chunks of a list remember must be true at any time, whoever changes what: both CPUs
choose and change counts while a writer publishes. Seconds; ONEVIP_STRESS_S=60 for longer.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from onevip.engines.bpf.rows import MEMBERS
from onevip.engines.bpf.writer import Writer
from onevip.model import EditService
from packet.choices import Choices
from packet.conftest import Directors
from packet.kernel_lists import KernelList, Server
from packet.test_stress import at_work, during

WEIGHTS = [0, 1, 1, 2, 3, 4, 6, 10, 100]
SIZES = [1, MEMBERS, MEMBERS + 1, 30, 2 * MEMBERS, 2 * MEMBERS + 1, 58, 59, 8 * MEMBERS, 1000]
MANY = 1000


@pytest.fixture(scope="module")
def _choices(_directors: Directors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Choices]:
    made = Choices(_directors("tc"), tmp_path_factory.mktemp("choices"))
    yield made
    made.close()


@pytest.fixture
def choices(_choices: Choices) -> Choices:
    return _choices


def kernels(scheduler: str, weights: list[int]) -> KernelList:
    """The same list by the kernel's way; servers by their slots."""
    made = KernelList(scheduler)
    for slot in reversed(range(len(weights))):
        made.add(Server(slot, weights[slot]))
    return made


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheduler", ["lc", "wlc", "sed", "nq", "fo", "ovf"])
def test_long_lists_choose_as_the_kernel(choices: Choices, scheduler: str, size: int) -> None:
    """Connections open, become inactive and end, in any order, from idle to busy.

    Servers become overloaded, and then no longer are.
    """
    dice = random.Random(f"{scheduler} {size}")
    weights = [dice.choice(WEIGHTS) for _ in range(size)]
    weights[dice.randrange(size)] = 1
    choices.build(scheduler, weights)
    assert choices.is_watched() == (size > MEMBERS)
    theirs = kernels(scheduler, weights)
    if size > 100:  # no need to open a thousand first: most are busy, some are idle
        for server in theirs.servers:
            server.active, server.inactive = (
                dice.randrange(4) * dice.randrange(4),
                dice.randrange(9),
            )
            choices.change(server.number, server.active, server.inactive)
    for _ in range(150 if size > 100 else 300):
        got = choices.look()
        assert got == (-1 if (expected := theirs.choose()) is None else expected)
        if got >= 0:
            choices.change(got, 1)
            theirs.server(got).active += 1
        if dice.randrange(3) == 0:
            server = theirs.servers[dice.randrange(size)] if got < 0 else theirs.server(got)
            server.overloaded = not server.overloaded
            choices.overload(server.number, server.overloaded)
        for _ in range(dice.randrange(3)):
            server = theirs.servers[dice.randrange(size)]
            active, inactive = dice.choice([(-1, 1), (0, -1), (0, 1), (1, -1), (-1, 0)])
            if server.active + active >= 0 and server.inactive + inactive >= 0:
                server.active += active
                server.inactive += inactive
                choices.change(server.number, active, inactive)
    choices.assert_what_is_remembered_is_true()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
def test_long_lists_take_turns_as_the_kernel(choices: Choices, scheduler: str, size: int) -> None:
    dice = random.Random(f"{scheduler} {size}")
    weights = [dice.choice(WEIGHTS) for _ in range(size)]
    weights[dice.randrange(size)] = 2
    choices.build(scheduler, weights)
    theirs = kernels(scheduler, weights)
    for _ in range(min(2 * sum(weights), 3 * size + 10)):
        assert choices.look() == theirs.choose()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
def test_long_lists_take_turns_around_the_overloaded(
    choices: Choices, scheduler: str, size: int
) -> None:
    dice = random.Random(f"{scheduler} {size}")
    weights = [dice.choice(WEIGHTS) for _ in range(size)]
    weights[dice.randrange(size)] = 2
    choices.build(scheduler, weights)
    choices.plane.chunks.set(choices.first_chunk, "limited", 1)
    theirs = kernels(scheduler, weights)
    for number in range(150):
        for server in theirs.servers:
            if number % 15 < 2:  # all of them, and none again
                server.overloaded = number % 15 == 0
            elif dice.randrange(6) == 0:
                server.overloaded = not server.overloaded
            choices.plane.real_counts.set(server.number, "overloaded", server.overloaded)
        for _ in range(3):
            assert choices.look() == (-1 if (expected := theirs.choose()) is None else expected)


def test_one_heavy_server_among_a_thousand(choices: Choices) -> None:
    """The longest way for wrr: a round of the list for each of its turns."""
    weights = [1] * MANY
    weights[700] = 50
    choices.build("wrr", weights)
    theirs = kernels("wrr", weights)
    for _ in range(1200):
        assert choices.look() == theirs.choose()


@pytest.mark.parametrize("scheduler", ["lc", "wlc", "sed", "nq", "fo", "ovf"])
@pytest.mark.parametrize("size", [1, 30, MANY])
def test_nobody_has_weight(choices: Choices, scheduler: str, size: int) -> None:
    choices.build(scheduler, [0] * size)
    assert choices.look() == -1
    choices.change(size - 1, 3)
    assert choices.look() == -1


# The price: chunks that did not change are not looked at again.


def test_a_choice_looks_only_at_chunks_that_changed(choices: Choices) -> None:
    choices.build("wlc", [1] * MANY)
    assert set(choices.remembered()) == {None}
    assert choices.look() == 0
    assert choices.remembered() == [0] * -(-MANY // MEMBERS)
    for slot in (3, 3 + MEMBERS, MANY - 1):
        choices.change(slot, 1)
    before = versions(choices)
    changed = {0, 1, (MANY - 1) // MEMBERS}
    assert {nr for nr, index in enumerate(choices.remembered()) if index is None} == changed
    # what is remembered is believed: slots that are not the best are named, and stay
    quiet = [nr for nr in range(len(before)) if nr not in changed]
    for nr in quiet:
        choices.plane.chunks.set(choices.first_chunk + nr, "best", before[nr] << 32 | 5)
    assert choices.look() == 0
    assert [choices.remembered()[nr] for nr in quiet] == [5] * len(quiet)
    assert {choices.remembered()[nr] for nr in changed} == {0}
    assert versions(choices) == before


def versions(choices: Choices) -> list[int]:
    chunks, first = choices.plane.chunks, choices.first_chunk
    return [chunks.get(first + nr, "version") for nr in range(len(choices.remembered()))]


@pytest.mark.parametrize(
    ("scheduler", "size"),
    [("wlc", MEMBERS), ("lc", 1), ("rr", MANY), ("wrr", 59), ("sh", 59), ("twos", 59)],
)
def test_nobody_is_watched_where_nobody_keeps_a_result(
    choices: Choices, scheduler: str, size: int
) -> None:
    choices.build("wlc", [1] * size)
    choices.director.apply(EditService(choices.director.service, scheduler))
    assert not choices.is_watched()
    assert not any(choices.plane.real_counts.get(slot, "chunk") for slot in range(size))
    before = versions(choices)
    choices.look()
    choices.change(0, 1)
    assert versions(choices) == before


def test_a_list_that_is_not_watched_is_looked_at_in_full(choices: Choices) -> None:
    """So a writer may be killed before it has told every real server its chunk."""
    choices.build("lc", [1] * 60)
    choices.look()
    choices.plane.chunks.set(choices.first_chunk, "watched", 0)
    for slot in range(60):
        choices.plane.real_counts.set(slot, "chunk", 0)
    remembered = choices.remembered()
    for expected in [*range(60), *range(60)]:
        assert choices.look() == expected
        choices.change(expected, 1)
    assert choices.remembered() == remembered
    Writer(choices.plane).repair()
    assert choices.is_watched()
    for expected in [*range(60), *range(60)]:
        assert choices.look() == expected
        choices.change(expected, 1)


def test_what_a_slow_look_found_is_not_believed_in_the_next_list(choices: Choices) -> None:
    """A look may end when its chunks belong to another list already."""
    choices.build("lc", [1] * 60)
    choices.look()
    plane, first = choices.plane, choices.first_chunk
    late = [plane.chunks.get(first + nr, "best") for nr in range(3)]
    listed = Writer(plane).list_of(0)
    plane.services.set(0, "list", 0)
    plane.settings.set(0, "next_chunk", first)
    Writer(plane)._publish(0, listed)
    assert choices.first_chunk == first
    for nr, best in enumerate(late):
        plane.chunks.set(first + nr, "best", best)
    assert choices.remembered() == [None] * 3


# Both CPUs at once: one chooses without end, the other changes counts and checks what is
# remembered (choices.bpf.c). Two members of each chunk matter.


def build_to_check(choices: Choices) -> None:
    choices.build("wlc", [int(slot % MEMBERS < 2) for slot in range(MANY)])
    for slot in range(MANY):
        active = 1001 if slot % MEMBERS == 0 else 1000
        choices.plane.real_counts.set(slot, "counts", active << 32)
    listed = Writer(choices.plane).list_of(0)
    choices.orders.clear(0)
    choices.orders.set(0, "chunks", -(-MANY // MEMBERS))
    Writer(choices.plane)._publish(0, listed)


def has_checked(choices: Choices) -> bool:
    return choices.orders.get(0, "checked") > 100


def assert_all_was_true(choices: Choices) -> None:
    checked, wrong = (choices.orders.get(0, name) for name in ("checked", "wrong"))
    print(f"{checked} times a chunk remembered its best member, {wrong} times another")
    assert checked > 100
    assert wrong == 0
    assert choices.look() == choices.best()
    choices.assert_what_is_remembered_is_true(at_least=-(-MANY // MEMBERS))


def test_what_is_remembered_is_true_while_counts_change(choices: Choices) -> None:
    build_to_check(choices)
    first, *_, last = sorted(os.sched_getaffinity(0))
    with (
        at_work(first, lambda: choices.run("look", 2000)),
        at_work(last, lambda: choices.run("change_and_check", 2000)),
    ):
        for _ in during(lambda: has_checked(choices), "a look at what is remembered"):
            time.sleep(0.01)
    assert_all_was_true(choices)


def test_what_is_remembered_is_true_while_a_writer_publishes(choices: Choices) -> None:
    """The writer edits a member that does not matter."""
    build_to_check(choices)
    first, *_, last = sorted(os.sched_getaffinity(0))
    writer, lists = Writer(choices.plane), 0
    with (
        at_work(first, lambda: choices.run("look", 200)),
        at_work(last, lambda: choices.run("change_and_check", 200)),
    ):
        for _ in during(lambda: has_checked(choices), "a look at what is remembered"):
            writer._publish(0, writer.list_of(0).with_weight(MEMBERS - 1, 0))
            lists += 1
            time.sleep(0.001)
    print(f"{lists} lists were published")
    assert choices.is_watched()
    assert_all_was_true(choices)
