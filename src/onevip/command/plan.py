"""`onevip plan FILE`: what a daemon with this file would change in the table. Only looks."""

from __future__ import annotations

from pathlib import Path

from onevip import config, namespace
from onevip.command.environment import Environment
from onevip.command.ipvsadm.command_line import command_line
from onevip.daemon.ownership import Ownership
from onevip.daemon.wanted import wanted
from onevip.daemon.words import change as in_words
from onevip.health import Verdict
from onevip.model import Check, CheckType, Configuration, UsageError, diff

USAGE = """\
usage: onevip plan [--down] FILE

Compares the table with what an ldirectord.cf wants when every real server is up, or with --down
when none is, and prints the ipvsadm commands that lead there. Changes nothing, asks no server.
Services that this file neither names nor ever made are left out.
Exit status: 0 when the table is so already, 3 when it differs, 1 for a broken file.
"""

DIFFERENT = 3


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Compare; the exit status. Raises UsageError, ConfigError, DataplaneError."""
    environment = environment or Environment()
    if argv and argv[0] in ("-h", "--help"):
        environment.stdout.write(USAGE)
        return 0
    down = argv[:1] == ["--down"]
    files = argv[1:] if down else argv
    files = files[1:] if files[:1] == ["--"] else files
    if len(files) != 1 or (files[0].startswith("-") and "--" not in argv):
        raise UsageError("plan takes one file: onevip plan /etc/ha.d/ldirectord.cf")
    configuration = config.load(files[0])
    table = environment.engine().read()
    run_directory = Path(environment.state_directory) / namespace.identity()
    want = wanted(configuration, verdicts(configuration, up=not down), table)
    former = Ownership(run_directory, files[0]).remembered()
    found = table.restricted_to({*want.services, *former})
    changes = diff(found, want)
    for change in changes:
        print(f"ipvsadm {command_line(change)}", file=environment.stdout)
        print(f"    {in_words(change, found, configuration)}", file=environment.stdout)
    state = "no real server" if down else "every real server"
    if not changes:
        print(f"the table is what {files[0]} wants with {state} up", file=environment.stdout)
        return 0
    print(f"{len(changes)} changes with {state} up; nothing was done", file=environment.stdout)
    return DIFFERENT


def verdicts(configuration: Configuration, *, up: bool) -> dict[Check, Verdict]:
    """All the same, but for those that no probe decides."""
    return {
        server.check: _verdict(server.check, up)
        for service in configuration.services
        for server in service.real_servers
    }


def _verdict(check: Check, up: bool) -> Verdict:
    if check.type is CheckType.OFF:
        return Verdict.UNPROVEN  # nobody ever decides: it stays as it is
    return Verdict.UP if up or not check.probes else Verdict.DOWN
