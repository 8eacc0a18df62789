"""`onevip status [FILE] [--json]`: what the daemons here know, verdicts and their reasons."""

# ruff: noqa: PLC0415 - what asks a daemon is loaded when there is one to ask.

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onevip import namespace
from onevip.command.environment import Environment
from onevip.model import OnevipError, RealServer, Table, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

USAGE = """\
usage: onevip status [FILE] [--json]

Shows what the running daemons of this network namespace know, or the one of FILE: which real
servers are up, why, since when, and where somebody changed the table by hand.

Exit status: 0 all answered, 1 one did not, 3 no daemon runs.
"""
NOT_RUNNING = 3

#: A service and a real server, as the daemon names them → the row in force.
Rows = dict[tuple[str, str], RealServer]


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Ask and print; the exit status. Raises UsageError."""
    environment = environment or Environment()
    if {"-h", "--help"} & set(argv):
        environment.stdout.write(USAGE)
        return 0
    files = [word for word in argv if word != "--json"]
    if len(files) > 1 or any(word.startswith("-") for word in files):
        raise UsageError("status takes one file at most: onevip status [FILE] [--json]")
    reports, problems = _asked(environment, files[0] if files else None)
    if "--json" in argv:
        environment.stdout.write(json.dumps(reports) + "\n")
    elif reports:
        rows = _rows(environment.engine().read())
        lines = [line for report in reports for line in shown(report, rows, time.time())]
        environment.stdout.write("\n".join(lines) + "\n")
    for problem in problems:
        environment.stderr.write(f"onevip: {problem}\n")
    if problems:
        return 1
    if not reports:
        what = f"the daemon of {files[0]} does not run" if files else "no daemon runs here"
        environment.stderr.write(f"onevip: {what}\n")
        return NOT_RUNNING
    return 0


def _asked(environment: Environment, file: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The reports of the daemons that answer, and what is wrong with the others."""
    from onevip.daemon.ask import NoDaemon, ask
    from onevip.daemon.ownership import name_of
    from onevip.daemon.socket_files import SUFFIX, of_daemons

    directory = Path(environment.state_directory) / namespace.identity()
    reports, problems = [], []
    sockets = [directory / f"{name_of(file)}{SUFFIX}"] if file else of_daemons(directory)
    for path in sockets:
        try:
            reports.append(ask(path, "status"))
        except NoDaemon:
            continue
        except OnevipError as error:
            problems.append(str(error))
    return reports, problems


def _rows(table: Table) -> Rows:
    return {(str(s.key), str(real.key)): real for s in table for real in s.real_servers}


def shown(report: Mapping[str, Any], rows: Rows, now: float) -> Iterator[str]:
    """A daemon's report for people."""
    yield (
        f"{report['file']}: {report['phase']}, pid {report['pid']}, "
        f"up {_span(report['uptime_s'])}, onevip {report['onevip']}"
    )
    if error := report["reload_error"]:
        yield f"  not reloaded {_span(now - error['at'])} ago: {error['error']}"
        yield "  the last good configuration is in force"
    elif report["reloaded"]:
        yield f"  reloaded {_span(now - report['reloaded'])} ago"
    if report["trouble"]:
        yield f"  the table is not as wanted: {report['trouble']}"
    for line in (*report["warnings"], *report["uncheckable"]):
        yield f"  warning: {line}"
    for service in report["services"]:
        yield from _service(service, rows)


def _service(service: Mapping[str, Any], rows: Rows) -> Iterator[str]:
    servers = service["servers"]
    up = sum(server["verdict"] == "up" for server in servers)
    name = f" ({service['name']})" if service["name"] else ""
    fallback = ""
    if service["fallback"] and (service["service"], service["fallback"]) in rows:
        fallback = f", fallback server {service['fallback']} serves"
    yield f"{service['service']}{name}: {up} of {len(servers)} up{fallback}"
    for words in service["differences"]:
        yield f"  {words}"
    width = max((len(server["server"]) for server in servers), default=0)
    for server in servers:
        row = rows.get((service["service"], server["server"]))
        yield f"  {server['server']:<{width}}  {_server(server, row)}"


def _server(server: Mapping[str, Any], row: RealServer | None) -> str:
    """`up for 3 min, weight 2: status 200`."""
    words = [f"{server['verdict']} for {_span(server['since_s'])}"]
    words.append(server["difference"] or (f"weight {row.weight}" if row else "not in the table"))
    if server["failures"] and server["verdict"] != "down":
        words.append(f"{server['failures']} of {server['failure_count']} failures")
    if server["verdict"] == "down" and 0 < server["successes"] < server["rise_count"]:
        words.append(f"{server['successes']} of {server['rise_count']} successes")
    if server["next_check_s"] is not None:
        words.append(f"checked again in {_span(server['next_check_s'])}")
    host = f" ({server['host']})" if server["host"] else ""
    return f"{', '.join(words)}: {server['check']}: {server['reason']}{host}"


def _span(seconds: float) -> str:
    """`4 s`, `3 min`, `5 h 2 min`, `12 d`: as much as one wants to know."""
    seconds = max(seconds, 0.0)  # the clock may have been set back
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days >= 2:
        return f"{days} d"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"
