"""Where the table differs from what the daemon left there: somebody changed it by hand. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onevip.daemon.aims import Known, Rows
from onevip.daemon.by_hand import TERMS, Terms
from onevip.daemon.wanted import rows_of
from onevip.health import Verdict
from onevip.model import (
    ConfiguredRealServer,
    ForwardingMethod,
    RealServerKey,
    ServiceKey,
    VirtualService,
)

COMES_BACK = "deleted by hand: comes back at its next change of verdict, or at a reload"
SERVICE_COMES_BACK = (
    "deleted by hand: comes back when a verdict on one of its real servers changes, or at a reload"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """What is otherwise, in words; of a service (`real` None) or one of its rows.

    `terms`: what was set by hand of a configured row and stays until its next change of verdict.
    """

    service: ServiceKey
    real: RealServerKey | None
    words: str
    terms: Terms = field(default_factory=dict)

    def __str__(self) -> str:
        real = f"{self.real}: " if self.real else ""
        return f"{self.service}: {real}{self.words}"


def of(known: Known, found: VirtualService | None, *, fallback_is_on: bool) -> Iterator[Difference]:
    """The differences of one service, its own first."""
    service, key = known.service, known.service.key
    if found is None:
        yield Difference(key, None, SERVICE_COMES_BACK)
        return
    if found.scheduler != service.scheduler:
        words = f"scheduler {found.scheduler} set by hand, {service.scheduler} configured"
        yield Difference(key, None, f"{words}: until a reload")
    if found.options != service.options:
        yield Difference(key, None, "options set by hand, others configured: until a reload")
    there = rows_of(found)
    yield from _of_rows(known, there)
    fallback = service.fallback
    if fallback and fallback_is_on and fallback.key not in there:
        words = "fallback server deleted by hand: comes back when a verdict changes"
        yield Difference(key, fallback.key, words)
    for real, row in there.items():
        if real not in known.servers and not (fallback and real == fallback.key):
            words = f"added by hand with weight {row.weight}: deleted at the next reload"
            yield Difference(key, real, words)


def _of_rows(known: Known, there: Rows) -> Iterator[Difference]:
    key = known.service.key
    for real, server in known.servers.items():
        note = known.note_of(real)
        if real not in there:
            if note.was_there:
                yield Difference(key, real, COMES_BACK)
            continue
        terms = note.terms_of(there[real])
        if len(terms) == len(TERMS) and note.ours is None:
            yield Difference(key, real, f"added by hand with weight {terms['weight']}", terms)
        elif terms := _by_hand(server, terms, known.verdict_of(real)):
            yield Difference(key, real, _words(server, terms), terms)


def _by_hand(server: ConfiguredRealServer, terms: Terms, verdict: Verdict) -> Terms:
    """Without what is as the daemon itself would have it."""
    if verdict is Verdict.UNPROVEN:
        return terms
    ours = {name: int(getattr(server.real, name)) for name in TERMS}
    if verdict is Verdict.DOWN:
        ours["weight"] = 0
    return {name: value for name, value in terms.items() if value != ours[name]}


def _words(server: ConfiguredRealServer, terms: Terms) -> str:
    """`weight 0 set by hand, 3 configured`."""
    words = []
    for name, value in terms.items():
        ours = getattr(server.real, name)
        if name == "method":
            shown, ours = ForwardingMethod(value).name.lower(), server.real.method.name.lower()
            words.append(f"method {shown} set by hand, {ours} configured")
        else:
            words.append(f"{name.replace('_', ' ')} {value} set by hand, {ours} configured")
    return "; ".join(words)
