"""A service's real servers in the kernel's order, and where rr and wrr stand in it. Pure.

Spec ipvs §4.0: a new server goes to the head, so "first" is the most recently added. §4.1: rr
remembers the last chosen server and moves back when that is deleted. §4.2: every change of a
list sends wrr back to the head and fits its current weight to the new weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Member:
    """One real server in a list: an engine's id for it, and its weight."""

    real: int
    weight: int


@dataclass(frozen=True, slots=True)
class ServerList:
    """One state of a service's list.

    `position` is the index after the last chosen member, 0 before the first choice;
    `current_weight` is wrr's bar.
    """

    scheduler: str
    members: tuple[Member, ...] = ()
    position: int = 0
    current_weight: int = 0

    @property
    def divisor(self) -> int:
        """Greatest common divisor of the weights that are not 0; 1 without any."""
        return math.gcd(*(member.weight for member in self.members)) or 1

    @property
    def max_weight(self) -> int:
        """wrr's highest bar: max - (divisor - 1); 0 when nobody has weight."""
        highest = max((member.weight for member in self.members), default=0)
        return highest - (self.divisor - 1) if highest else 0

    def with_added(self, member: Member) -> ServerList:
        position = self.position + 1 if self.position else 0
        return self._changed((member, *self.members), position)

    def with_removed(self, real: int) -> ServerList:
        index = self._index(real)
        position = self.position - 1 if index < self.position else self.position
        return self._changed(self.members[:index] + self.members[index + 1 :], position)

    def with_weight(self, real: int, weight: int) -> ServerList:
        index = self._index(real)
        members = list(self.members)
        members[index] = Member(real, weight)
        return self._changed(tuple(members), self.position)

    def with_scheduler(self, scheduler: str) -> ServerList:
        """Another scheduler begins anew; the same one goes on."""
        if scheduler == self.scheduler:
            return self
        fresh = ServerList(scheduler, self.members)
        return replace(fresh, current_weight=fresh.max_weight if scheduler == "wrr" else 0)

    def _index(self, real: int) -> int:
        return next(i for i, member in enumerate(self.members) if member.real == real)

    def _changed(self, members: tuple[Member, ...], position: int) -> ServerList:
        if self.scheduler != "wrr":
            return replace(self, members=members, position=position)
        changed = replace(self, members=members, position=0)
        bar, divisor, highest = self.current_weight, changed.divisor, changed.max_weight
        if bar > highest or bar == 0:
            bar = highest
        elif divisor > 1:
            bar = bar // divisor * divisor + 1
        return replace(changed, current_weight=bar)
