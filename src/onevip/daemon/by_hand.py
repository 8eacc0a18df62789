"""What somebody set by hand in a row of the daemon's, and what the daemon remembers to see it.

Pure. The rule: what is set by hand stays until the next change of verdict of its real server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onevip.health import Verdict
from onevip.model import ForwardingMethod, RealServer, RealServerKey

#: What `ipvsadm -e` can change of a row.
TERMS = ("weight", "method", "upper_threshold", "lower_threshold")
#: Name → value of what was set by hand; a row that was added by hand has all of TERMS.
Terms = Mapping[str, int]
NOTHING: Terms = {}


@dataclass(frozen=True, slots=True)
class Note:
    """What is remembered of one row, over the end of the daemon, too.

    `left`: the row as the daemon left it, None for no row; while a change is under way both the
    old and the new one, so that a daemon that is killed meanwhile takes neither for a hand's.
    Empty: the daemon has not dealt with this row yet. `verdict`: the last one that was acted on.
    `terms`: what is by hand in the row; `ours`: the row without that, None when there is none.
    """

    left: tuple[RealServer | None, ...] = ()
    verdict: Verdict = Verdict.UNPROVEN
    terms: Terms = field(default_factory=dict)
    ours: RealServer | None = None

    @property
    def was_there(self) -> bool:
        """Whether the daemon left a row: where there is none now, somebody deleted it."""
        return bool(self.left) and None not in self.left

    def terms_of(self, found: RealServer | None) -> Terms:
        """What is by hand in the row as it was found. Who deletes a row ends what he set."""
        if found is None:
            return NOTHING if self.was_there else self.terms
        if not self.left or found in self.left:
            return self.terms
        terms = {**self.terms, **edits(self.left[-1], found)}
        return {
            name: value
            for name, value in terms.items()
            if self.ours is None or getattr(self.ours, name) != value
        }


BLANK = Note()


def edits(known: RealServer | None, found: RealServer) -> Terms:
    """In what the row found differs from the one known; all of it when there was none."""
    changed = {
        name: int(getattr(found, name))
        for name in TERMS
        if known is None or getattr(known, name) != getattr(found, name)
    }
    if changed.keys() & {"upper_threshold", "lower_threshold"}:  # one is valid beside the other
        changed |= {name: getattr(found, name) for name in TERMS if name.endswith("_threshold")}
    return changed


def edited(row: RealServer | None, terms: Terms, key: RealServerKey) -> RealServer | None:
    """The row with what was set by hand; a whole one of `terms` alone, if they suffice."""
    if row is None:
        if len(terms) < len(TERMS):
            return None
        row = RealServer(key.address, key.port)
    if not terms:
        return row
    values = {name: terms.get(name, getattr(row, name)) for name in TERMS}
    return replace(
        row,
        weight=values["weight"],
        method=ForwardingMethod(values["method"]),
        upper_threshold=values["upper_threshold"],
        lower_threshold=values["lower_threshold"],
    )
