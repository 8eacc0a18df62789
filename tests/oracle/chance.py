"""The scheduler twos, whose choices are drawn: which are possible, and whether they are fair.

The rule is that of spec ipvs 4.8: two draws by weight, the first in the list with one chance
more than its weight; of the two the less loaded one, and of equals the first draw. For each choice
the chances of all real servers are worked out from what the counters then are, so what was chosen
over many is compared with the sum of the chances. Nothing is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from oracle.recording import Row, Step

#: One false alarm in so many tests; a run over both doors makes eight.
ALARM = 1e-8
SMALLEST_EXPECTATION = 10.0  # of a cell: rarer ones are put together


@dataclass
class Server:
    weight: int
    upper: int = 0
    active: int = 0
    inactive: int = 0
    is_overloaded: bool = False

    @property
    def overhead(self) -> int:
        return 256 * self.active + self.inactive

    @property
    def load(self) -> Fraction:
        return Fraction(self.overhead, self.weight)


@dataclass(frozen=True)
class Verdict:
    """One chi-square test."""

    what: str
    statistic: float
    freedom: int

    @property
    def chance(self) -> float:
        """Of a statistic as high as this, or higher, by the rule."""
        return survival(self.statistic, self.freedom)

    @property
    def is_alarm(self) -> bool:
        return self.chance < ALARM

    def __str__(self) -> str:
        return (
            f"chi-square {self.what} {self.statistic:.1f} of {self.freedom} (p {self.chance:.2g})"
        )


@dataclass
class Chances:
    """The real servers of a twos service as our own choices made them."""

    number: int
    servers: dict[int, Server] = field(default_factory=dict)
    gone: dict[int, Server] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)  # the list: the latest addition first
    by_server: dict[int, list[float]] = field(default_factory=dict)  # [seen, expected]
    by_rank: dict[int, list[float]] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        found = (self.servers.get(number) for number in range(self.number))
        return [None if one is None else [one.weight, one.active, one.inactive] for one in found]

    # What happens.

    def chose(self, got: int | None) -> str:
        """Counts a choice. Why it is impossible, else nothing."""
        chances = self.chances()
        if got is None:
            return "there are real servers to choose" if chances else ""
        if got not in chances:
            return "impossible: its weight is 0, it is overloaded, or not in the service"
        ranks = {one: rank for rank, one in enumerate(sorted(chances, key=self._load_of))}
        for number, chance in chances.items():
            for cells, cell in ((self.by_server, number), (self.by_rank, ranks[number])):
                seen_expected = cells.setdefault(cell, [0, 0])
                seen_expected[0] += number == got
                seen_expected[1] += chance
        server = self.servers[got]
        server.active += 1
        if server.upper and server.active + server.inactive >= server.upper:
            server.is_overloaded = True
        return ""

    def closed(self, got: int) -> bool:
        """False: its real server is gone, and no packet reaches anybody."""
        server = self.servers.get(got)
        if server is None:
            return False
        server.active, server.inactive = server.active - 1, server.inactive + 1
        return True

    def edited(self, step: Step) -> None:
        number = step.real
        if step.op == "del":
            self.gone[number] = self.servers.pop(number)
            self.order.remove(number)
            return
        if step.op == "add":
            self.servers[number] = self.gone.pop(number, Server(step.weight))
            self.order.insert(0, number)
        server = self.servers[number]
        if not step.upper or step.upper > server.upper:
            server.is_overloaded = False
        server.weight, server.upper = step.weight, step.upper

    # The rule.

    def chances(self) -> dict[int, float]:
        """Of every real server that may be chosen now."""
        eligible = [n for n in self.order if self.servers[n].weight and not self._is_overloaded(n)]
        total = sum(self.servers[number].weight for number in eligible)
        drawn = {
            number: (self.servers[number].weight + (number == eligible[0])) / (total + 1)
            for number in eligible
        }
        found = dict.fromkeys(eligible, 0.0)
        for one in eligible:
            for other in eligible:
                winner = other if self._load_of(one) > self._load_of(other) else one
                found[winner] += drawn[one] * drawn[other]
        return found

    def _is_overloaded(self, number: int) -> bool:
        return self.servers[number].is_overloaded

    def _load_of(self, number: int) -> Fraction:
        return self.servers[number].load

    # Whether the draws were fair.

    def tests(self) -> list[Verdict]:
        """By real server, and by rank: 0 for the least loaded. One draw is fair by server only."""
        return [
            Verdict(what, *pearson([*cells.values()]))
            for what, cells in (("by server", self.by_server), ("by rank", self.by_rank))
        ]


def pearson(cells: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The statistic of [seen, expected] cells, and its degrees of freedom.

    Where chances differ from draw to draw it varies less than the table says, so alarms are no
    more frequent.
    """
    large = [cell for cell in cells if cell[1] >= SMALLEST_EXPECTATION]
    small = [cell for cell in cells if cell[1] < SMALLEST_EXPECTATION]
    rest = [sum(column) for column in zip(*small, strict=True)]
    if rest and rest[1] >= SMALLEST_EXPECTATION:
        large.append(rest)
    elif rest and large:  # too rare for a cell of their own
        least = min(large, key=lambda cell: cell[1])
        large[large.index(least)] = [a + b for a, b in zip(least, rest, strict=True)]
    return sum((seen - expected) ** 2 / expected for seen, expected in large), len(large) - 1


def survival(statistic: float, freedom: int) -> float:
    """Of the chi-square distribution. Abramowitz and Stegun 26.4.4, 26.4.5 and 26.4.8."""
    if freedom < 1:
        return 1.0
    half = statistic / 2
    a = 0.5 if freedom % 2 else 1.0
    found = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    while a < freedom / 2:
        found += half**a * math.exp(-half) / math.gamma(a + 1)
        a += 1
    return found
