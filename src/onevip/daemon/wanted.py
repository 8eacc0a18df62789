"""Which table is wanted, from configuration, verdicts and what is in force. Pure.

An unproven real server never gains weight; one found in the table keeps what it has until its
first verdict, so that the start of a daemon changes nothing that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onevip.daemon.by_hand import BLANK, NOTHING, Note, Terms, edited, edits
from onevip.health import Verdict
from onevip.model import (
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    RealServer,
    RealServerKey,
    Table,
    VirtualService,
)


def wanted(configuration: Configuration, verdicts: Mapping[Check, Verdict], actual: Table) -> Table:
    """The services of this configuration as a daemon that starts would put them in force now.

    A check without a verdict counts as unproven. Knows nothing of what was set by hand.
    """
    return Table.of(
        _service(service, verdicts, actual.get(service.key)) for service in configuration.services
    )


def _service(
    service: ConfiguredService, verdicts: Mapping[Check, Verdict], actual: VirtualService | None
) -> VirtualService:
    found = rows_of(actual)
    rows: dict[RealServerKey, RealServer] = {}
    is_served = False
    for server in service.real_servers:
        row = found.get(server.real.key)
        verdict = standing(server, verdicts.get(server.check, Verdict.UNPROVEN), row)
        is_served = is_served or serves(server, verdict, row)
        aim = at_start(server, verdict, row, BLANK, quiescent=service.quiescent)
        if aim.row is not None:
            rows[server.real.key] = aim.row
    if service.fallback and not is_served:
        rows[service.fallback.key] = service.fallback  # also in place of a quiescent one
    return VirtualService(
        service.key, service.scheduler, tuple(rows.values()), options=service.options
    )


def rows_of(service: VirtualService | None) -> dict[RealServerKey, RealServer]:
    """The rows by key; none of a service that is not there."""
    return {real.key: real for real in service.real_servers} if service else {}


def standing(
    server: ConfiguredRealServer,
    verdict: Verdict,
    found: RealServer | None,
    last: Verdict = Verdict.UNPROVEN,
) -> Verdict:
    """The verdict; with `checktype=off` whoever has weight at the start is up, and stays it.

    So does who was up before (`last`): then somebody took his weight by hand.
    """
    if server.check.type is not CheckType.OFF:
        return verdict
    has_weight = found is not None and (found.weight > 0 or last is Verdict.UP)
    return Verdict.UP if has_weight else Verdict.DOWN


def serves(server: ConfiguredRealServer, verdict: Verdict, found: RealServer | None) -> bool:
    """Whether it keeps the fallback server out. A weight set by hand changes nothing in that."""
    if verdict is Verdict.UNPROVEN:
        return found is not None and found.weight > 0
    return verdict is Verdict.UP and server.real.weight > 0


@dataclass(frozen=True, slots=True)
class Aim:
    """What a row ought to be, and what of it is by hand."""

    row: RealServer | None
    terms: Terms = field(default_factory=dict)
    ours: RealServer | None = None  # the row without what is by hand
    is_deleted: bool = False  # by hand, and stays away


def at_start(
    server: ConfiguredRealServer,
    verdict: Verdict,
    found: RealServer | None,
    note: Note,
    *,
    quiescent: bool,
) -> Aim:
    """When a configuration is put in force: every row of it ought to be there."""
    if verdict is Verdict.UNPROVEN:
        row = found or _without_weight(server, quiescent)
        return Aim(row, note.terms_of(found), note.ours)
    terms = note.terms_of(found) if verdict is note.verdict else NOTHING
    return _aim(server, verdict, terms, quiescent)


def at_verdict(
    server: ConfiguredRealServer,
    verdict: Verdict,
    found: RealServer | None,
    note: Note,
    *,
    quiescent: bool,
    readd: bool,
) -> Aim:
    """When a verdict came in, for the first time or another than before.

    A row that somebody deleted stays away until its server's verdict changes; without
    `readdquiescent` (`readd`) it comes back only with weight (spec ldirectord §5.2).
    """
    if verdict is Verdict.UNPROVEN:
        return Aim(found, note.terms_of(found), note.ours)
    is_same = verdict is note.verdict
    is_deleted = found is None and note.was_there
    if is_deleted and (is_same or (verdict is Verdict.DOWN and not readd)):
        return Aim(None, is_deleted=True)
    return _aim(server, verdict, note.terms_of(found) if is_same else NOTHING, quiescent)


def _aim(server: ConfiguredRealServer, verdict: Verdict, terms: Terms, quiescent: bool) -> Aim:
    ours = server.real if verdict is Verdict.UP else _without_weight(server, quiescent)
    row = edited(ours, terms, server.real.key)
    return Aim(row, edits(ours, row) if row is not None and terms else NOTHING, ours)


def _without_weight(server: ConfiguredRealServer, quiescent: bool) -> RealServer | None:
    return replace(server.real, weight=0) if quiescent else None
