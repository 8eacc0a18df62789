"""New verdicts until they are told, and what is told of them and of changes of the table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from onevip.daemon.events import Event, Row, TableChanged, VerdictChanged
from onevip.health import State
from onevip.model import (
    AddRealServer,
    Change,
    Configuration,
    DeleteRealServer,
    EditRealServer,
    Phase,
    RealServer,
    ServiceKey,
    Table,
)


class News:
    """Of each row the last verdict that nobody was told of yet."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._untold: dict[Row, State] = {}

    def add(self, row: Row, state: State) -> None:
        self._untold[row] = state

    def keep(self, rows: Collection[Row]) -> None:
        """Forget those of all other rows."""
        self._untold = {row: state for row, state in self._untold.items() if row in rows}

    def tell_verdicts(
        self, services: Collection[ServiceKey], before: Table | None, after: Table | None
    ) -> dict[Row, State]:
        """Tell each new verdict with what it did to its row; without tables: it did nothing yet.

        The rows concerned, with their verdicts.
        """
        told = {row: state for row, state in self._untold.items() if row[0] in services}
        for row, state in told.items():
            was = _row(before, row) if before else None
            now = _row(after, row) if after else None
            self._tell(VerdictChanged(row, state, was, now, applied=after is not None))
            del self._untold[row]
        return told

    def tell_changes(
        self,
        changes: Iterable[Change],
        before: Table,
        verdicts: Mapping[Row, State],
        phase: Phase,
        configuration: Configuration,
    ) -> None:
        """Tell each change, with the verdict that made it."""
        for change in changes:
            verdict = None
            if isinstance(change, AddRealServer | EditRealServer):
                verdict = verdicts.get((change.service, change.real.key))
            elif isinstance(change, DeleteRealServer):
                verdict = verdicts.get((change.service, change.real))
            self._tell(TableChanged(change, before, phase, configuration, verdict))


def _row(table: Table, row: Row) -> RealServer | None:
    service, real = row
    found = table.get(service)
    return found.real_server(real) if found else None
