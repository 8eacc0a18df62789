"""lblc and lblcr: destinations keep their real servers (spec ipvs §4.6, §4.7). dh's recordings too.

Without packets, for such services are by firewall mark or of every port.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from onevip.model import EditService
from packet.choices import Choices
from packet.conftest import Directors
from packet.network import real_address
from packet.test_oracle import FIXTURES
from packet.wire import CLIENT

HERE, THERE = "10.0.128.1", "2001:db8::1"
RECORDINGS = [f"{name}.{nr}" for name in ("dh", "lblc", "lblcr") for nr in (1, 2)]
NAMES = "abcdefghijklmnopqrstuvwxyz"
LATE = 1 << 24  # the clock begins again there


@pytest.fixture(scope="module")
def choices(_directors: Directors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Choices]:
    made = Choices(_directors("tc"), tmp_path_factory.mktemp("choices"))
    yield made
    made.close()


def load(choices: Choices, **active: int) -> None:
    """`a=3`: the server in slot 0 has three active connections; the others' stay."""
    for name, number in active.items():
        choices.plane.real_counts.set(
            "abcdefghijklmnopqrstuvwxyz".index(name), "counts", number << 32
        )


def expiration(choices: Choices, scheduler: str, seconds: int) -> int:
    """Sets it; in clock units."""
    settings = choices.plane.settings
    settings.set(0, f"{scheduler}_expiration", seconds)
    return seconds * settings.get(0, "hz") >> settings.get(0, "clock_shift")


# Recorded from the kernel.


class Replay:
    """A recording, step by step: choices by packets' addresses, counts as the kernel had them."""

    def __init__(self, choices: Choices, recording: dict[str, Any]) -> None:
        self.choices = choices
        self.addresses = [text.rpartition(":")[0] for text in recording["reals"]]
        choices.director.forget()
        choices.director.add_service(recording["service"]["scheduler"])
        for real in recording["service"]["dests"]:
            choices.director.add(self.addresses[real["rs"]], weight=real["weight"])

    def step(self, step: dict[str, Any]) -> int | None:
        address, director = self.addresses[step.get("rs", 0)], self.choices.director
        if step["op"] == "open":
            slot = self.choices.look_for(step["src"], step["dst"], step["sport"])
            return None if slot < 0 else self.addresses.index(director._address(slot))
        if step["op"] == "weight":
            director.edit(address, weight=step["weight"])
        if step["op"] == "add":
            director.add(address, weight=step["weight"])
        if step["op"] == "del":
            director.delete(address)
        return None

    def count(self, after: list[list[int] | None]) -> None:
        for member in self.choices.listed().members:
            row = after[self.addresses.index(self.choices.director._address(member.real))]
            assert row is not None
            assert row[0] == member.weight
            self.choices.plane.real_counts.set(member.real, "counts", row[1] << 32 | row[2])


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_of_the_kernel(choices: Choices, name: str) -> None:
    path = FIXTURES / "oracle" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recordings of the kernel's IPVS at {FIXTURES}: set ONEVIP_FIXTURES")
    recording = json.loads(path.read_text())
    replay = Replay(choices, recording)
    for number, step in enumerate(recording["steps"]):
        assert replay.step(step) == step.get("got"), f"step {number}: {step}"
        replay.count(step["after"])


# Slot 0, a, is the first in the list.


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_a_destination_keeps_its_server(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [5, 5, 5])
    load(choices, a=1)
    assert choices.look_for(CLIENT, HERE) == 1  # wlc's choice
    load(choices, b=5)  # all of its weight, but not more
    assert choices.look_for(CLIENT, HERE) == 1
    assert choices.look_for("10.9.9.9", HERE, 7) == 1
    assert choices.look_for(CLIENT, THERE) == 2


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_a_server_is_too_busy_if_another_has_time(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [5, 5, 1])
    assert choices.look_for(CLIENT, HERE) == 0
    load(choices, a=6, b=3, c=1)
    assert choices.look_for(CLIENT, HERE) == 0  # nobody has less than half of his
    load(choices, b=2)
    assert choices.look_for(CLIENT, HERE) == 1
    load(choices, a=0, b=6, c=1)
    assert choices.look_for(CLIENT, HERE) == 0


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_one_who_has_time_is_found_wherever_it_stands(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [5] * 100)
    assert choices.look_for(CLIENT, HERE) == 0
    for slot in range(1, 100):
        choices.change(slot, 3)
    choices.change(0, 6)
    assert choices.look_for(CLIENT, HERE) == 0
    choices.change(99, -1)
    assert choices.look_for(CLIENT, HERE) == 99


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_a_server_without_weight_loses_its_destinations(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [1, 1])
    assert choices.look_for(CLIENT, HERE) == 0
    choices.plane.reals.set(0, "weight", 0)
    choices.publish(choices.listed().with_weight(0, 0))
    assert choices.look_for(CLIENT, HERE) == 1


def test_an_overloaded_server_keeps_lblcs_destinations(choices: Choices) -> None:
    """As in the kernel; lblcr's set is asked for another one."""
    for scheduler, then in (("lblc", 0), ("lblcr", 1)):
        choices.build(scheduler, [1, 1])
        assert choices.look_for(CLIENT, HERE) == 0
        choices.overload(0, True)
        assert choices.look_for(CLIENT, HERE) == then
        assert choices.look_for(CLIENT, THERE) == 1


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_nobody_is_able(choices: Choices, scheduler: str) -> None:
    choices.build(scheduler, [1, 1])
    for slot in (0, 1):
        choices.overload(slot, True)
    assert choices.look_for(CLIENT, HERE) == -1
    choices.overload(1, False)
    assert choices.look_for(CLIENT, HERE) == 1


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
def test_who_is_deleted_loses_its_destinations_and_who_comes_back_has_them(
    choices: Choices, scheduler: str
) -> None:
    director = choices.director
    director.forget()
    director.add_service(scheduler)
    director.add(real_address(1))
    director.add(real_address(2))  # at the head, slot 1
    assert choices.look_for(CLIENT, HERE) == 1
    assert choices.look_for(CLIENT, THERE) == 1
    director.delete(real_address(2))
    assert choices.look_for(CLIENT, THERE) == 0
    director.add(real_address(2))  # it left a moment ago: the same slot
    assert choices.look_for(CLIENT, HERE) == 1
    if scheduler == "lblc":
        assert choices.look_for(CLIENT, THERE) == 0


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
@pytest.mark.parametrize("field", ["generation", "service"])
def test_the_next_one_in_a_slot_does_not_inherit(
    choices: Choices, scheduler: str, field: str
) -> None:
    choices.build(scheduler, [1, 1, 1])
    load(choices, a=1)
    assert choices.look_for(CLIENT, HERE) == 1
    load(choices, b=1)
    assert choices.look_for(CLIENT, HERE) == 1
    choices.plane.reals.set(1, field, choices.plane.reals.get(1, field) + 1)
    assert choices.look_for(CLIENT, HERE) == 2


def test_another_scheduler_begins_with_nothing(choices: Choices) -> None:
    choices.director.forget()
    choices.director.add_service("lblc")
    for number in (1, 2):
        choices.director.add(real_address(number))
    first = choices.look_for(CLIENT, HERE)
    choices.change(first, 1)
    for scheduler in ("lblcr", "lblc"):
        choices.director.apply(EditService(choices.director.service, scheduler))
        assert choices.look_for(CLIENT, HERE) != first
    choices.director.forget()


@pytest.mark.parametrize("scheduler", ["lblc", "lblcr"])
@pytest.mark.parametrize("wraps_after", [None, 0, 5])
def test_who_was_not_asked_for_is_forgotten(
    choices: Choices, scheduler: str, wraps_after: int | None
) -> None:
    choices.build(scheduler, [1, 1])
    lasts = expiration(choices, scheduler, 100)
    now = 1000 if wraps_after is None else LATE - 5 - wraps_after * (lasts - 1)
    assert choices.look_for(CLIENT, HERE, now=now) == 0
    load(choices, a=1)
    for _ in range(5):  # every look renews it
        now = (now + lasts - 1) % LATE
        assert choices.look_for(CLIENT, HERE, now=now) == 0
    assert choices.look_for(CLIENT, HERE, now=(now + lasts) % LATE) == 1


# lblcr's sets.


def grow(choices: Choices, slots: list[int], now: int = 1) -> None:
    """A set of these, taken in one after the other; all have weight 2."""
    everybody = range(len(choices.listed().members))
    for slot in slots:
        for other in everybody:
            choices.plane.real_counts.set(other, "counts", (0 if other == slot else 3) << 32)
        assert choices.look_for(CLIENT, HERE, now=now) == slot


def test_the_least_loaded_of_a_set(choices: Choices) -> None:
    choices.build("lblcr", [2] * 4)
    grow(choices, [0, 2, 3])
    load(choices, a=2, b=0, c=1, d=2)
    assert choices.look_for(CLIENT, HERE) == 2
    load(choices, c=2)
    assert choices.look_for(CLIENT, HERE) == 3  # of equals the one that came last
    choices.overload(3, True)
    assert choices.look_for(CLIENT, HERE) == 2
    load(choices, a=3, b=0, c=3, d=3)
    choices.overload(3, False)
    assert choices.look_for(CLIENT, HERE) == 1  # b comes in


def test_weights_count_in_a_set(choices: Choices) -> None:
    choices.build("lblcr", [2, 2, 6])
    grow(choices, [0, 1])
    load(choices, a=6, b=6, c=0)
    assert choices.look_for(CLIENT, HERE) == 2
    load(choices, a=2, b=2, c=5)
    assert choices.look_for(CLIENT, HERE) == 2


def test_an_old_set_loses_its_most_loaded(choices: Choices) -> None:
    choices.build("lblcr", [2] * 4)
    lasts = expiration(choices, "lblcr", 100)
    grow(choices, [0, 1, 2, 3])
    load(choices, a=2, b=1, c=2, d=0)
    assert choices.look_for(CLIENT, HERE, now=lasts) == 3
    # later than its last change by more than that; in use all the time. c came after a
    assert choices.look_for(CLIENT, HERE, now=lasts + 2) == 3
    load(choices, a=2, b=2, c=0, d=2)
    assert choices.look_for(CLIENT, HERE, now=lasts + 2) == 3
    load(choices, d=3, a=1)
    assert choices.look_for(CLIENT, HERE, now=lasts + 2) == 0
    # that was a change: the next one goes as much later
    load(choices, a=2, b=0, c=1, d=2)
    assert choices.look_for(CLIENT, HERE, now=2 * lasts) == 1
    assert choices.look_for(CLIENT, HERE, now=2 * lasts + 3) == 1
    load(choices, a=1, b=2, c=2, d=1)
    assert choices.look_for(CLIENT, HERE, now=2 * lasts + 3) == 0  # d has gone


def test_who_is_chosen_again_is_in_the_set_already(choices: Choices) -> None:
    """Too busy, for another one is idle; but that one's inactive connections weigh more."""
    choices.build("lblcr", [2] * 3)
    lasts = expiration(choices, "lblcr", 100)
    grow(choices, [0, 1])
    load(choices, a=3, b=4, c=0)
    choices.change(2, 0, 5000)
    assert choices.look_for(CLIENT, HERE, now=lasts) == 0
    assert choices.look_for(CLIENT, HERE, now=lasts + 2) == 0  # no change since: b goes
    load(choices, a=2, b=0, c=2)
    assert choices.look_for(CLIENT, HERE, now=lasts + 2) == 0


def test_a_single_server_is_not_lost(choices: Choices) -> None:
    choices.build("lblcr", [2, 2])
    lasts = expiration(choices, "lblcr", 100)
    for now in (1, lasts - 1, 2 * lasts - 2, 3 * lasts - 3):
        assert choices.look_for(CLIENT, HERE, now=now) == 0
        load(choices, a=2)


def test_a_full_set_forgets_who_came_first(choices: Choices) -> None:
    choices.build("lblcr", [2] * 26)
    grow(choices, list(range(24)))
    everybody = dict.fromkeys(NAMES, 2)
    load(choices, **everybody | {"a": 0})
    assert choices.look_for(CLIENT, HERE) == 0
    load(choices, **dict.fromkeys(everybody, 3) | {"y": 0})
    assert choices.look_for(CLIENT, HERE) == 24
    load(choices, **everybody | {"a": 0, "b": 1})
    assert choices.look_for(CLIENT, HERE) == 1
    load(choices, **everybody | {"a": 0, "y": 1})
    assert choices.look_for(CLIENT, HERE) == 24
