"""`onevip ldirectord`, also by a link of that name: ldirectord's command line and behaviour.

arguments   the command line, the search for the file       reading   the file and its messages
commands    start, stop … · starting, background, ready     the daemon on its way
running     who runs, by lock and pid file · pid_file       what the daemon leaves for others
journal     the log in ldirectord's sentences · debugging, check_words   what -d adds
"""

from __future__ import annotations

import sys
from pathlib import Path

from onevip.command.daemon_start import run_directory
from onevip.command.environment import Environment
from onevip.command.ldirectord import arguments, reading, usage
from onevip.command.ldirectord.arguments import Arguments, BadUsage
from onevip.command.ldirectord.commands import COMMANDS
from onevip.command.ldirectord.running import Place
from onevip.command.ldirectord.session import Session, Speaker, destination
from onevip.daemon import log_destinations
from onevip.daemon.log import Destination
from onevip.model import ConfigError, Configuration, HostError

__all__ = ["main"]

BAD_USAGE, BAD_FILE, NO_FILE, REFUSED = 255, 2, 1, 1
NOTHING = Configuration(file="", services=())


def main(
    argv: list[str], environment: Environment | None = None, asked: tuple[str, ...] = ()
) -> int:
    """Run one command line of ldirectord; its exit status is that of 1.186-ha.

    `asked`: configurations whose status led to this, by execute= in one after the other.
    """
    environment = environment or Environment()
    try:
        given = arguments.read(argv)
    except BadUsage as error:
        environment.stderr.writelines(f"{complaint}\n" for complaint in error.complaints)
        environment.stdout.write(usage.USAGE)
        return BAD_USAGE
    if given.options & {"help", "version"}:
        environment.stdout.write(usage.USAGE if "help" in given.options else usage.VERSION)
        return 0
    return _run(given, environment, asked)


def _run(given: Arguments, environment: Environment, asked: tuple[str, ...]) -> int:
    say = Speaker(_destination(given, NOTHING, environment), environment)
    file = arguments.find(given.file, environment.configuration_directories)
    if file is None:
        return _refuse(given, say, NO_FILE, f"Config file {given.file} not found")
    try:
        configuration = reading.read(file, lambda line: print(line, file=environment.stderr))
    except ConfigError:
        say(f"Exiting with exit_status {BAD_FILE}: config_error: Configuration Error")
        return BAD_FILE
    say = Speaker(_destination(given, configuration, environment), environment)
    say(f"Invoking ldirectord invoked as: {' '.join((sys.argv[0], *given.words))} ")
    pid_file = Path(environment.pid_directory) / f"ldirectord.{given.name}.pid"
    place = Place(given.name, file, pid_file, run_directory(environment))

    def ask_instance(name: str) -> int:
        if name in asked:  # they execute each other
            return 0
        return main([name, "status"], environment, (*asked, name))

    session = Session(given, configuration, place, environment, say, ask_instance)
    try:
        return COMMANDS[given.command](session)
    except HostError as error:
        return _refuse(given, say, REFUSED, str(error))


def _destination(
    given: Arguments, configuration: Configuration, environment: Environment
) -> Destination:
    if given.debug:
        return log_destinations.Debugging(environment.stderr)
    return destination(configuration, given.name, environment)


def _refuse(given: Arguments, say: Speaker, status: int, words: str) -> int:
    say(words)
    if not given.debug:  # then the log is on stderr already
        print(words, file=say.environment.stderr)
    say(f"Exiting with exit_status {status}: Initialisation Error")
    return status
