"""What lblc and lblcr remember of destinations, and when they forget it (spec ipvs §4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from onevip.schedulers.rings import fold, hash32
from onevip.schedulers.scheduler import Address

CHAIN_BITS = 10
MOST_ENTRIES = 16384
CHECK_EVERY_S = 60.0
CHECKS_TO_A_FULL_ONE = 30
IDLE_S = 360.0  # what may be forgotten when there are too many entries

V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[V]):
    value: V
    last_use: float


class DestinationCache(Generic[V]):
    """Destination address → value, forgotten when nobody asked for it long enough."""

    def __init__(self) -> None:
        self.chains: list[dict[Address, Entry[V]]] = [{} for _ in range(1 << CHAIN_BITS)]
        self.next_check: float | None = None  # the clock is not known before the first use
        self.checks = 1
        self.rover = 0  # the chain where the last forgetting ended

    def __len__(self) -> int:
        return sum(map(len, self.chains))

    def used(self, destination: Address, now: float, lifetime_s: int) -> V | None:
        """What is known of it, which is thereby used. Forgets first what was due."""
        if self.next_check is None:
            self.next_check = now + CHECK_EVERY_S
        while self.next_check <= now:
            self._check(self.next_check, lifetime_s)
            self.next_check += CHECK_EVERY_S
        entry = self._chain(destination).get(destination)
        if entry is None:
            return None
        entry.last_use = now
        return entry.value

    def remember(self, destination: Address, value: V, now: float) -> None:
        self._chain(destination)[destination] = Entry(value, now)

    def _chain(self, destination: Address) -> dict[Address, Entry[V]]:
        return self.chains[hash32(fold(destination), CHAIN_BITS)]

    def _check(self, now: float, lifetime_s: int) -> None:
        if self.checks % CHECKS_TO_A_FULL_ONE == 0:
            for number in range(len(self.chains)):
                self._forget(number, now - lifetime_s)
            self.checks = 1
        elif len(self) > MOST_ENTRIES:
            self._make_room(now)
        else:
            self.checks += 1

    def _make_room(self, now: float) -> None:
        goal = min((len(self) - MOST_ENTRIES) * 4 // 3, MOST_ENTRIES // 2)
        for _ in range(len(self.chains)):
            self.rover = (self.rover + 1) % len(self.chains)
            goal -= self._forget(self.rover, now - IDLE_S)
            if goal <= 0:
                return

    def _forget(self, number: int, unused_since: float) -> int:
        """Drops entries of a chain that nobody used since then; how many."""
        chain = self.chains[number]
        kept = {key: entry for key, entry in chain.items() if entry.last_use > unused_since}
        self.chains[number] = kept
        return len(chain) - len(kept)
