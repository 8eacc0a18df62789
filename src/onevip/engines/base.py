"""The interface of every engine. No engine is imported here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from onevip.model import Change, Counters, RealServerKey, ServiceKey, Table

#: Counters: a service's own under (service, None), a real server's under both keys.
CountersByKey = dict[tuple[ServiceKey, RealServerKey | None], Counters]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The table and its counters as they were at one moment."""

    table: Table
    counters: CountersByKey


class Engine(Protocol):
    """Holds the table of one network namespace and forwards its packets."""

    def read(self) -> Table:
        """The table as the engine holds it now. An engine that is not loaded holds nothing."""
        ...

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        """Table and counters, of one service or of all. Raises UnknownService."""
        ...

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply changes in order; each is in force as a whole or not at all.

        Raises TableError for the first that does not fit (those before it stay in force) and
        DataplaneError when the kernel refuses.
        """
        ...

    def schedulers(self) -> frozenset[str]:
        """The schedulers that this engine has."""
        ...
