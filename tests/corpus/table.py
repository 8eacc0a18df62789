"""The table that onevip makes of a configuration with every server up, or down, as listed."""

from __future__ import annotations

import io

from onevip.command.environment import Environment
from onevip.command.ipvsadm import main as ipvsadm
from onevip.daemon.wanted import wanted
from onevip.engines.memory import MemoryEngine
from onevip.health import Verdict
from onevip.model import Check, CheckType, Configuration, Table


def listed(configuration: Configuration, *, up: bool) -> list[str]:
    """The lines of `ipvsadm -L -n`."""
    servers = [server for service in configuration.services for server in service.real_servers]
    verdicts = {server.check: _verdict(server.check, up) for server in servers}
    engine = MemoryEngine(wanted(configuration, verdicts, Table.of()))
    out = io.StringIO()
    assert ipvsadm(["-L", "-n"], Environment(stdout=out, engine=lambda: engine)) == 0
    return out.getvalue().splitlines()


def _verdict(check: Check, up: bool) -> Verdict:
    if check.type is CheckType.OFF:
        return Verdict.DOWN
    if check.command == "/bin/true":  # up, whatever the server is
        return Verdict.UP
    return Verdict.UP if up or not check.probes else Verdict.DOWN


def rows(lines: list[str]) -> set[str]:
    """Each row of a listing, a real server's with its service before it. The order is nobody's
    promise."""
    found: set[str] = set()
    service = ""
    for line in filter(str.strip, lines[3:]):
        if line.startswith("  ->"):
            found.add(f"{service} {' '.join(line.split())}")
        else:
            service = line.strip()
            found.add(service)
    return found


def endpoints(row: str) -> str:
    """`10.0.0.1:80 -> 10.0.0.2:80`: which server of which service a row is about."""
    service, arrow, real = row.partition(" -> ")
    return f"{service.split()[1]}{arrow}{real.split()[0] if real else ''}"
