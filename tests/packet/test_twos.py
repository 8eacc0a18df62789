"""twos: the less busy of two by chance (spec ipvs §4.8). Shares are compared with expectations
by five standard deviations: wrong once in two million runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest

from packet.choices import Choices
from packet.conftest import Directors

TIMES = 3000


@pytest.fixture(scope="module")
def choices(_directors: Directors, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Choices]:
    made = Choices(_directors("tc"), tmp_path_factory.mktemp("choices"))
    yield made
    made.close()


def assert_shares(choices: Choices, expected: dict[int, float]) -> None:
    found = Counter(choices.look() for _ in range(TIMES))
    assert set(found) <= set(expected)
    for slot, share in expected.items():
        deviation = math.sqrt(TIMES * share * (1 - share))
        assert abs(found[slot] - TIMES * share) <= 5 * deviation, (slot, found)


def test_weights_are_shares_and_the_first_has_one_more(choices: Choices) -> None:
    """All idle: the first pick stays."""
    choices.build("twos", [1, 0, 2, 3])
    assert_shares(choices, {0: 2 / 7, 2: 2 / 7, 3: 3 / 7})


def test_the_first_that_may_has_one_more(choices: Choices) -> None:
    choices.build("twos", [0, 5, 1, 1])
    choices.overload(1, True)
    assert_shares(choices, {2: 2 / 3, 3: 1 / 3})


def test_the_busy_one_is_chosen_if_both_picks_are_it(choices: Choices) -> None:
    choices.build("twos", [1, 1])
    choices.change(0, 1)
    assert_shares(choices, {0: 4 / 9, 1: 5 / 9})


def test_overheads_are_weighed(choices: Choices) -> None:
    """2 for weight 2 is as busy as 1 for weight 1: the first pick stays."""
    choices.build("twos", [2, 1])
    choices.change(0, 2)
    choices.change(1, 1)
    assert_shares(choices, {0: 3 / 4, 1: 1 / 4})
    choices.change(0, 0, 1)
    assert_shares(choices, {0: 9 / 16, 1: 7 / 16})


def test_products_are_of_32_bits(choices: Choices) -> None:
    """As in the kernel: 40000 x 256 x 300 is negative there, so the busy one seems idle."""
    choices.build("twos", [40000, 40000])
    choices.change(0, 300)
    assert_shares(choices, {0: 3 / 4, 1: 1 / 4})


def test_long_lists(choices: Choices) -> None:
    weights = [slot % 3 for slot in range(60)]
    choices.build("twos", weights)
    total = sum(weights) + 1
    expected = {slot: weight / total for slot, weight in enumerate(weights) if weight}
    assert_shares(choices, expected | {1: 2 / total})


@pytest.mark.parametrize("size", [1, 60])
def test_nobody_is_able(choices: Choices, size: int) -> None:
    choices.build("twos", [0] * size)
    assert choices.look() == -1
    choices.build("twos", [1] * size)
    for slot in range(size):
        choices.overload(slot, True)
    assert choices.look() == -1
