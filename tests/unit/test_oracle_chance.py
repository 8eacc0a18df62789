"""The judge of drawn choices: fair draws pass, unfair ones do not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from oracle.chance import Chances, Server, pearson, survival

Draw = Callable[[Chances, random.Random], int]


def weighted(chances: Chances, dice: random.Random, *, extra: int = 1) -> int:
    """One draw of twos, word by word: `extra` 1, for the kernel draws from [0, total]."""
    total = sum(chances.servers[number].weight for number in chances.order)
    left = dice.randint(1 - extra, total)
    for number in chances.order:
        left -= chances.servers[number].weight
        if left <= 0:
            return number
    raise AssertionError


def twos(chances: Chances, dice: random.Random) -> int:
    one, other = weighted(chances, dice), weighted(chances, dice)
    return other if chances.servers[one].load > chances.servers[other].load else one


def by_weight(chances: Chances, dice: random.Random) -> int:
    return weighted(chances, dice)


def least_loaded(chances: Chances, dice: random.Random) -> int:
    return min(chances.order, key=lambda number: chances.servers[number].load)


def without_weights(chances: Chances, dice: random.Random) -> int:
    one, other = dice.choice(chances.order), dice.choice(chances.order)
    return other if chances.servers[one].load > chances.servers[other].load else one


def by_connections_alone(chances: Chances, dice: random.Random) -> int:
    one, other = weighted(chances, dice), weighted(chances, dice)
    servers = chances.servers
    return other if servers[one].overhead > servers[other].overhead else one


def the_other_draw(chances: Chances, dice: random.Random) -> int:
    one, other = weighted(chances, dice), weighted(chances, dice)
    return one if chances.servers[one].load > chances.servers[other].load else other


def life(draw: Draw, seed: int) -> Chances:
    """2,500 connections to five servers, a third of them closed again."""
    dice = random.Random(seed)
    chances = Chances(5)
    for number, weight in enumerate((1, 2, 3, 4, 20)):
        chances.servers[number] = Server(weight)
        chances.order.insert(0, number)
    for nr in range(2500):
        got = draw(chances, dice)
        assert chances.chose(got) == ""
        if nr % 3 == 0:
            chances.closed(got)
    return chances


def test_fair_draws_raise_no_alarm() -> None:
    for seed in range(4):
        for verdict in life(twos, seed).tests():
            assert not verdict.is_alarm, verdict


@pytest.mark.parametrize(
    "draw", [by_weight, least_loaded, without_weights, by_connections_alone, the_other_draw]
)
def test_unfair_draws_raise_one(draw: Draw) -> None:
    assert any(verdict.is_alarm for verdict in life(draw, 1).tests())


def test_impossible_choices_are_named() -> None:
    chances = Chances(3)
    assert chances.chose(None) == ""
    chances.servers = {0: Server(1), 1: Server(0), 2: Server(1, is_overloaded=True)}
    chances.order = [2, 1, 0]
    for number in (1, 2):
        assert "impossible" in chances.chose(number)
    assert "there are real servers" in chances.chose(None)
    assert chances.chose(0) == ""
    assert chances.rows() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_chances_add_up_to_one() -> None:
    chances = life(twos, 5)
    assert sum(chances.chances().values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("freedom", "statistic", "expected"),
    # Abramowitz and Stegun, table 26.8
    [(1, 3.84146, 0.05), (2, 9.21034, 0.01), (3, 16.2662, 0.001), (4, 23.5127, 1e-4),
     (5, 25.7448, 1e-4), (5, 4.35146, 0.5)],
)  # fmt: skip
def test_the_chi_square_distribution(freedom: int, statistic: float, expected: float) -> None:
    assert survival(statistic, freedom) == pytest.approx(expected, rel=1e-3)


def test_rare_cells_are_put_together() -> None:
    tens = [[10.0, 10.0], [12.0, 10.0]]
    assert pearson([*tens, [9.0, 6.0], [3.0, 6.0]]) == (pytest.approx(0.4), 2)
    assert pearson([*tens, [5.0, 2.0]]) == (pytest.approx(3**2 / 12 + 2**2 / 10), 1)
    assert pearson([[1.0, 2.0]]) == (0, -1)
