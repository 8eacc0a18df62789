"""`onevip ipvsadm`: argv → one change or one listing → the engine. No daemon, no whole table.

`reading` reads the command line as ipvsadm 1.31 does, `edits` and `listing` know what it asks for;
here they meet the engine. What onevip does not do yet is refused by name, after the original's own
checks.
"""

# ruff: noqa: PLC0415 - what only some commands need is imported by those: start-up is the price
# of every edit.

from __future__ import annotations

from typing import TYPE_CHECKING

from onevip.command.environment import Environment
from onevip.command.ipvsadm import edits, reading
from onevip.command.ipvsadm.request import REFUSED, Fault, Request, TryHelp
from onevip.command.ipvsadm.words import COMMANDS, OPTIONS
from onevip.model.errors import OnevipError

if TYPE_CHECKING:
    from onevip.engines.base import Engine

__all__ = ["main"]

LISTING_FAILED = 1

_UNSUPPORTED_COMMANDS = {"restore", "save", "start-daemon", "stop-daemon"}
_UNSUPPORTED_OPTIONS = {
    "pe",
    "ipv6",
    "daemon",
    "tun-info",
    "tun-port",
    "tun-nocsum",
    "tun-csum",
    "tun-remcsum",
}


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Run one ipvsadm command line; returns the original's exit status."""
    env = environment or Environment()
    try:
        request = reading.read(argv)
        if request.command in ("help", "version"):
            return _print_usage(request, env)
        _refuse_what_is_missing(request)
        changes = [] if request.command in ("list", "set") else [edits.change(request)]
    except TryHelp:
        print(
            "Try `ipvsadm -h' or 'ipvsadm --help' for more information.",
            file=env.stderr,
        )
        return REFUSED
    except Fault as fault:
        print(fault.text, file=env.stderr)
        return fault.status
    try:
        engine = env.engine()
        if request.command == "list":
            _list(request, engine, env)
        elif request.command == "set":
            engine.set_timeouts(edits.timeouts(request, engine.timeouts()))
        else:
            engine.apply(changes)
    except OnevipError as error:
        print(edits.refusal(request, error), file=env.stderr)
        return LISTING_FAILED if request.command == "list" else REFUSED
    return 0


def _print_usage(request: Request, env: Environment) -> int:
    from onevip.command.ipvsadm.usage import HELP, VERSION

    env.stdout.write(VERSION + HELP if request.command == "help" else VERSION)
    return 0


def _refuse_what_is_missing(request: Request) -> None:
    """Raises Fault for what ipvsadm has and onevip does not have yet."""
    if request.command in _UNSUPPORTED_COMMANDS:
        raise _unsupported(_name(request.command, COMMANDS[request.command][0]))
    for option, value in request.given.items():
        if option == "tun-info" and "connection" in request.given:
            continue  # taken without a meaning
        if option in _UNSUPPORTED_OPTIONS:
            raise _unsupported(_name(option, OPTIONS[option][0]))
        if option == "tun-type" and value != "ipip":
            raise _unsupported(f"--tun-type {value}")
    for endpoint in (request.service, request.real):
        if endpoint is not None and endpoint.address.version == 6:
            raise _unsupported(f"IPv6 ({endpoint.address})")


def _name(long: str, letter: str) -> str:
    return f"-{letter} ({long})" if letter else f"--{long}"


def _unsupported(what: str) -> Fault:
    return Fault(f"ipvsadm: {what} is not supported by onevip yet")


def _list(request: Request, engine: Engine, env: Environment) -> None:
    if "connection" in request.given:
        _list_connections(request, engine, env)
        return
    if "timeout" in request.given:
        now = engine.timeouts()
        print(f"Timeout (tcp tcpfin udp): {now.tcp_s} {now.tcp_fin_s} {now.udp_s}", file=env.stdout)
        return
    from onevip.command.ipvsadm import formats, listing

    layout = next(name for name in formats.FORMATS if name in request.given or name == "plain")
    for line in listing.lines(
        engine.snapshot(request.key),
        formats.FORMATS[layout],
        numeric="numeric" in request.given,
        exact="exact" in request.given,
        in_order="nosort" not in request.given,
        header=request.key is None,
    ):
        print(line, file=env.stdout)


def _list_connections(request: Request, engine: Engine, env: Environment) -> None:
    from onevip.command.ipvsadm import connections

    for lines in connections.chunks(
        engine,
        numeric="numeric" in request.given,
        persistent="persistent-conn" in request.given,
    ):
        env.stdout.write(lines)
