"""What is to become of one service in one step, and what to remember of it. Pure.

A whole service is put in force when a configuration is, and when somebody deleted it; after that
only the rows with a new verdict are touched, and the fallback server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from onevip.daemon.by_hand import Note
from onevip.daemon.events import Row
from onevip.daemon.wanted import Aim, at_start, at_verdict, rows_of, serves
from onevip.health import Verdict
from onevip.model import (
    ConfiguredRealServer,
    ConfiguredService,
    RealServer,
    RealServerKey,
    VirtualService,
)

Rows = Mapping[RealServerKey, RealServer]


@dataclass(frozen=True, slots=True)
class Known:
    """A configured service, and all that is known of its rows."""

    service: ConfiguredService
    servers: Mapping[RealServerKey, ConfiguredRealServer]
    verdict_of: Callable[[RealServerKey], Verdict]
    note_of: Callable[[RealServerKey], Note]

    def is_served(self, there: Callable[[], Rows]) -> bool:
        """Whether some server keeps the fallback out; the rows are asked for only if need be."""
        unproven = []
        for key, server in self.servers.items():
            verdict = self.verdict_of(key)
            if verdict is Verdict.UNPROVEN:
                unproven.append(key)
            elif serves(server, verdict, None):
                return True
        rows = there() if unproven else {}
        return any(
            serves(self.servers[key], self._last(key, rows.get(key)), rows.get(key))
            for key in unproven
        )

    def _last(self, key: RealServerKey, row: RealServer | None) -> Verdict:
        """Who was up before a restart may have no weight because somebody took it by hand."""
        was_up = row is not None and self.note_of(key).verdict is Verdict.UP
        return Verdict.UP if was_up else Verdict.UNPROVEN


@dataclass(frozen=True, slots=True)
class Aims:
    """The service before and after, as far as it is concerned; notes to write before and after."""

    before: VirtualService | None
    after: VirtualService
    ahead: Mapping[Row, Note]
    notes: Mapping[Row, Note]


def of_whole(known: Known, found: VirtualService | None) -> Aims:
    """Every row of the service is to be as configured, and no other there."""
    service, there = known.service, rows_of(found)
    aims = {
        key: at_start(
            *(server, known.verdict_of(key), there.get(key), known.note_of(key)),
            quiescent=service.quiescent,
        )
        for key, server in known.servers.items()
    }
    rows = {key: aim.row for key, aim in aims.items() if aim.row is not None}
    if service.fallback and not known.is_served(lambda: there):
        rows[service.fallback.key] = service.fallback
    after = VirtualService(
        service.key, service.scheduler, tuple(rows.values()), options=service.options
    )
    return Aims(found, after, *_notes(known, aims, there, rows))


def of_rows(
    known: Known, due: Collection[RealServerKey], found: VirtualService, *, readd: bool
) -> Aims:
    """Only these rows, and the fallback server: all others stay as they are, whoever made them."""
    service, fallback = known.service, known.service.fallback
    concerned = {key for key in due if key in known.servers}
    if fallback and fallback.key in known.servers:
        concerned.add(fallback.key)
    watched = concerned | ({fallback.key} if fallback else set())
    names = {(key.address, key.port) for key in watched}
    there = {real.key: real for real in found.real_servers if (real.address, real.port) in names}
    aims = {
        key: at_verdict(
            *(known.servers[key], known.verdict_of(key), there.get(key), known.note_of(key)),
            quiescent=service.quiescent,
            readd=readd,
        )
        for key in concerned
    }
    rows = {key: aim.row for key, aim in aims.items() if aim.row is not None}
    if fallback and not known.is_served(lambda: rows_of(found)):
        kept = None if fallback.key in known.servers else there.get(fallback.key)
        rows[fallback.key] = kept or fallback  # also in place of a quiescent one
    before, after = (
        VirtualService(found.key, found.scheduler, tuple(part.values()), options=found.options)
        for part in (there, rows)
    )
    return Aims(before, after, *_notes(known, aims, there, rows))


def _notes(
    known: Known, aims: Mapping[RealServerKey, Aim], there: Rows, rows: Rows
) -> tuple[dict[Row, Note], dict[Row, Note]]:
    """What to remember while the change is under way, and once it is in force."""
    ahead: dict[Row, Note] = {}
    after: dict[Row, Note] = {}
    for key, aim in aims.items():
        row: Row = (known.service.key, key)
        old, new, note = there.get(key), rows.get(key), known.note_of(key)
        verdict = known.verdict_of(key)
        if verdict is Verdict.UNPROVEN:
            verdict = note.verdict
        left = note.left if aim.is_deleted else (new,)
        after[row] = Note(left, verdict, aim.terms, aim.ours)
        if old != new:
            ahead[row] = replace(after[row], left=(old, new))
    return ahead, after
