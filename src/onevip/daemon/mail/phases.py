"""Which phase a mail belongs to: what the first verdict on a server leads to belongs to the start
or the reload that brought its check. Pure.

So ldirectord had it, whose first round of checks was part of the start; else
`emailalertstatus=running` would mail about every restart.
"""

from __future__ import annotations

from onevip.daemon import ldirectord_words as words
from onevip.daemon.events import Row, TableChanged, VerdictChanged
from onevip.model import Check, Configuration, Phase


class Phases:
    """Knows which servers have had a verdict since the start or reload that brought their check."""

    def __init__(self) -> None:
        self.opening = Phase.STARTING
        self._checks: dict[Row, Check] = {}
        self._judged: set[Row] = set()
        self._of: dict[Row, Phase] = {}  # of what the last verdict on it leads to
        self._last = Phase.STARTING  # of what the last verdict on any leads to

    def take(self, configuration: Configuration) -> None:
        """Another configuration: an equal check keeps its verdict."""
        checks = {
            (service.key, server.real.key): server.check
            for service in configuration.services
            for server in service.real_servers
        }
        self._judged = {
            row
            for row, check in checks.items()
            # One that never probes has no verdict to wait for.
            if (row in self._judged and self._checks[row] == check) or not check.probes
        }
        self._checks = checks
        self._of = {row: phase for row, phase in self._of.items() if row in checks}

    def of_verdict(self, event: VerdictChanged) -> Phase:
        """To be asked once for each verdict, before what it leads to."""
        self._last = Phase.RUNNING if event.row in self._judged else self.opening
        self._judged.add(event.row)
        self._of[event.row] = self._last
        return self._last

    def of_change(self, event: TableChanged, row: Row) -> Phase:
        """A fallback server turns with the last verdict; what has no verdict is as it is told."""
        if event.verdict:
            return self._of.get(row, event.phase)
        if event.phase is Phase.RUNNING and words.is_fallback(event.configuration, *row):
            return self._last
        return event.phase
