"""`onevip`: finds the command, runs it, turns errors into one sentence and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onevip import __version__
from onevip.model.errors import OnevipError, UsageError, words_of


class Command(NamedTuple):
    """Where a sub-command lives; imported only when it is asked for."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "run": Command("onevip.command.run", "main", "check real servers and keep the table right"),
    "ldirectord": Command("onevip.command.ldirectord", "main", "the same daemon, as ldirectord"),
    "check": Command("onevip.command.check", "main", "say what is wrong with a configuration"),
    "plan": Command("onevip.command.plan", "main", "show what a configuration would change"),
    "status": Command("onevip.command.status", "main", "show verdicts and what is by hand"),
    "ipvsadm": Command("onevip.command.ipvsadm", "main", "show and edit the table, as ipvsadm"),
    "connections": Command("onevip.command.connections", "main", "show who is connected to what"),
    "sysctl": Command("onevip.command.sysctl", "main", "show and set tunables, as sysctl"),
    "real": Command("onevip.command.real", "main", "set up this host as a real server"),
    "director": Command("onevip.command.director", "main", "set up this host's VIP as director"),
    "attach": Command("onevip.command.attach", "main", "attach the data plane to interfaces"),
    "detach": Command("onevip.command.attach", "detach_main", "detach it from interfaces"),
    "lab": Command("onevip.lab", "command", "a whole cluster on this machine, to play with"),
    "demo": Command("onevip.lab.demo", "run", "the same cluster, narrated and checked"),
}

#: Names of links to this program that answer as the command of that name.
LINKS = ("ipvsadm", "ldirectord")

# A shell reports a command that a signal ended as 128 + signal.
INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13


def main(argv: list[str] | None = None) -> int:
    """Run one command line (without the program's name); returns its exit status.

    A link named `ipvsadm` or `ldirectord` to this program answers as that one.
    """
    _open_closed_streams()
    try:
        status = _dispatch(_own_arguments() if argv is None else argv)
        sys.stdout.flush()
    except UsageError as error:
        print(f"onevip: {error}", file=sys.stderr)
        return 2
    except OnevipError as error:
        print(f"onevip: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"onevip: {where}{words_of(error)}", file=sys.stderr)
        _give_up_output()
        return 1
    return status


def _open_closed_streams() -> None:
    """A program that is started without one of them (`>&-`) must not give its number to a file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            opened = Path(os.devnull).open(mode)  # noqa: SIM115 - it gets the free number
            setattr(sys, name, opened)


def _give_up_output() -> None:
    """Its reader went away, or its disk is full: the interpreter's own flush must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _own_arguments() -> list[str]:
    program, *arguments = sys.argv
    name = program.rpartition("/")[2]
    return [name, *arguments] if name in LINKS else arguments


def _dispatch(argv: list[str]) -> int:
    if not argv:
        print(usage(), end="", file=sys.stderr)
        return 2
    name, *arguments = argv
    if name in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if name in ("-V", "--version"):
        print(f"onevip {__version__}")
        return 0
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"there is no command {name!r}: see onevip --help")
    function: Callable[[list[str]], int] = getattr(
        importlib.import_module(command.module), command.function
    )
    return function(arguments)


def usage() -> str:
    """The text of `onevip --help`."""
    lines = ["usage: onevip COMMAND [ARGUMENT ...]", "", "One virtual IP, many real servers.", ""]
    lines += [f"  {name:<11} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "onevip COMMAND --help says more; onevip --version prints the version.", ""]
    return "\n".join(lines)
