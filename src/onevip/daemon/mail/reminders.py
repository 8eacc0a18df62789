"""emailalertfreq: which real servers that are down are due to be mailed about again. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from onevip.daemon.events import Row


@dataclass
class _Reminder:
    due_s: float
    reason: str


class Reminders:
    """The real servers that are down, and when their next reminder is due."""

    def __init__(self) -> None:
        self._of: dict[Row, _Reminder] = {}

    def __contains__(self, row: Row) -> bool:
        return row in self._of

    def __bool__(self) -> bool:
        return bool(self._of)

    def remind(self, row: Row, due_s: float, reason: str) -> None:
        self._of[row] = _Reminder(due_s, reason)

    def explain(self, row: Row, reason: str) -> None:
        """The reason is another one meanwhile."""
        if row in self._of:
            self._of[row].reason = reason

    def forget(self, row: Row) -> None:
        self._of.pop(row, None)

    def keep_only(self, rows: AbstractSet[Row]) -> None:
        self._of = {row: reminder for row, reminder in self._of.items() if row in rows}

    def due(self, now_s: float) -> list[tuple[Row, str]]:
        """Those whose time has come, with the reason of their last failure."""
        return [(row, one.reason) for row, one in self._of.items() if one.due_s <= now_s]
