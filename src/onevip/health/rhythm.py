"""Which probe of a check is next: for checktype=N, N connects between two negotiations."""

from __future__ import annotations

from onevip.model import Check, CheckType, Outcome


class Rhythm:
    """Of one check. A negotiation comes first, after N good connects, after a bad connect, and
    again until one is good (spec ldirectord §4).
    """

    def __init__(self, check: Check) -> None:
        self._names = check.probes
        self._connects = check.connects
        self._is_combined = check.type is CheckType.COMBINED and len(check.probes) > 1
        self._left = 0  # connects until the next negotiation

    @property
    def next(self) -> str:
        """The name of the probe whose turn it is."""
        return self._names[0] if self._left else self._names[-1]

    def heard(self, name: str, outcome: Outcome) -> None:
        """What the probe of this name found."""
        if not self._is_combined or not outcome.tried:
            return
        if not outcome.healthy:
            self._left = 0
        elif name == self._names[-1]:
            self._left = self._connects
        else:
            self._left -= 1
