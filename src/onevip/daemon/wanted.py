"""Which table is wanted, from configuration, verdicts and what is in force. Pure.

An unproven real server never gains weight; one found in the table keeps what it has until its
first verdict, so that the start of a daemon changes nothing that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onevip.health import Verdict
from onevip.model import (
    Check,
    Configuration,
    ConfiguredService,
    RealServer,
    Table,
    VirtualService,
)


def wanted(configuration: Configuration, verdicts: Mapping[Check, Verdict], actual: Table) -> Table:
    """The services of this configuration as they ought to be in the table now.

    A check without a verdict counts as unproven.
    """
    return Table.of(
        _service(service, verdicts, actual.get(service.key)) for service in configuration.services
    )


def _service(
    service: ConfiguredService, verdicts: Mapping[Check, Verdict], actual: VirtualService | None
) -> VirtualService:
    rows: dict[object, RealServer] = {}
    for server in service.real_servers:
        verdict = verdicts.get(server.check, Verdict.UNPROVEN)
        found = actual.real_server(server.real.key) if actual else None
        row = _row(server.real, verdict, found, service.quiescent)
        if row is not None:
            rows[row.key] = row
    if service.fallback and all(row.is_quiescent for row in rows.values()):
        rows[service.fallback.key] = service.fallback  # also in place of a quiescent one
    return VirtualService(
        service.key, service.scheduler, tuple(rows.values()), options=service.options
    )


def _row(
    real: RealServer, verdict: Verdict, found: RealServer | None, quiescent: bool
) -> RealServer | None:
    if verdict is Verdict.UP:
        return real
    if verdict is Verdict.UNPROVEN and found is not None:
        return found
    return replace(real, weight=0) if quiescent else None
