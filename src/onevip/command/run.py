"""`onevip run FILE`: the daemon, in the foreground, its log on stderr."""

# ruff: noqa: PLC0415 - asyncio and the daemon are loaded when they are needed, not for --help.

from __future__ import annotations

from onevip.command.environment import Environment
from onevip.model import UsageError

USAGE = """\
usage: onevip run FILE

Checks the real servers of an ldirectord.cf and keeps the table of virtual services right,
in the foreground, until SIGTERM or SIGINT. SIGHUP reads the file again.
"""


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Run until a signal; the exit status. Raises OnevipError when it cannot start."""
    environment = environment or Environment()
    if argv and argv[0] in ("-h", "--help"):
        environment.stdout.write(USAGE)
        return 0
    files = argv[1:] if argv[:1] == ["--"] else argv
    if len(files) != 1 or (files[0].startswith("-") and argv[:1] != ["--"]):
        raise UsageError("run takes one file: onevip run /etc/ha.d/ldirectord.cf")

    from onevip.command.daemon_start import keep_table
    from onevip.daemon import log
    from onevip.daemon.journal import Journal

    with log.to(environment.stderr):
        return keep_table(files[0], environment, Journal())
