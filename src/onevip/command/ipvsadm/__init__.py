"""`onevip ipvsadm`: argv → one Change or one listing → the engine. No daemon, no whole table.

`request` reads the command line as ipvsadm 1.31 does, `listing` prints as it prints; here the two
meet the engine. What onevip does not do yet is refused by name, after the original's own checks.
"""

# ruff: noqa: PLC0415 - what only some commands need is imported by those: start-up is the price
# of every edit.

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from onevip.command.environment import Environment
from onevip.command.ipvsadm import request as requests
from onevip.command.ipvsadm.request import Fault, Request, TryHelp
from onevip.command.ipvsadm.words import COMMANDS, OPTIONS
from onevip.model.changes import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Zero,
)
from onevip.model.errors import (
    OnevipError,
    RealServerExists,
    ServiceExists,
    TableError,
    UnknownRealServer,
    UnknownScheduler,
    UnknownService,
)
from onevip.model.service import RealServer, RealServerKey, ServiceKey

if TYPE_CHECKING:
    from onevip.engines.base import Engine

__all__ = ["main"]

LISTING_FAILED = 1

_UNSUPPORTED_COMMANDS = {"restore", "save", "set", "start-daemon", "stop-daemon"}
_SUPPORTED_OPTIONS = {
    "tcp-service",
    "udp-service",
    "scheduler",
    "real-server",
    "gatewaying",
    "ipip",
    "masquerading",
    "weight",
    "numeric",
    "connection",
    "stats",
    "thresholds",
    "persistent-conn",
    "nosort",
    "sort",
    "exact",
    "syncid",  # -L takes it without a meaning
}

_BROADCAST = IPv4Address("255.255.255.255")
_NOT_UNICAST = (
    "Invalid operation.  Possibly wrong module version, address not unicast, ..."  # EINVAL
)
_NO_SUCH_SCHEDULER = "Scheduler or persistence engine not found"

#: Command → why the table refused → the text of the kernel's errno (spec ipvs §10.5).
_REFUSALS: dict[str, dict[type[TableError], str]] = {
    "add-service": {
        ServiceExists: "Service already exists",
        UnknownScheduler: _NO_SUCH_SCHEDULER,
    },
    "edit-service": {
        UnknownService: "No such service",
        UnknownScheduler: _NO_SUCH_SCHEDULER,
    },
    "delete-service": {UnknownService: "No such service"},
    "zero": {UnknownService: "No such service"},
    "list": {UnknownService: "No such service"},
    "add-server": {
        UnknownService: "Service not defined",
        RealServerExists: "Destination already exists",
    },
    "edit-server": {
        UnknownService: "Service not defined",
        UnknownRealServer: "No such destination",
    },
    "delete-server": {
        UnknownService: "Service not defined",
        UnknownRealServer: "No such destination",
    },
}


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Run one ipvsadm command line; returns the original's exit status."""
    env = environment or Environment()
    try:
        request = requests.read(argv)
        if request.command in ("help", "version"):
            return _print_usage(request, env)
        _refuse_what_is_missing(request)
        changes = [] if request.command == "list" else [change(request)]
    except TryHelp:
        print(
            "Try `ipvsadm -h' or 'ipvsadm --help' for more information.",
            file=env.stderr,
        )
        return requests.REFUSED
    except Fault as fault:
        print(fault.text, file=env.stderr)
        return fault.status
    try:
        engine = env.engine()
        if request.command == "list":
            _list(request, engine, env)
        else:
            engine.apply(changes)
    except OnevipError as error:
        print(_refusal(request, error), file=env.stderr)
        return LISTING_FAILED if request.command == "list" else requests.REFUSED
    return 0


def change(request: Request) -> Change:
    """The one change that an editing request asks for."""
    if request.command == "clear":
        return Clear()
    if request.command == "zero":
        return Zero(_service_key(request) if request.service is not None else None)
    service = _service_key(request)
    match request.command:
        case "add-service":
            return AddService(service, request.scheduler)
        case "edit-service":
            return EditService(service, request.scheduler)
        case "delete-service":
            return DeleteService(service)
        case "add-server":
            return AddRealServer(service, _real_server(request))
        case "edit-server":
            return EditRealServer(service, _real_server(request))
    real = _real_server(request)
    return DeleteRealServer(service, RealServerKey(real.address, real.port))


def _service_key(request: Request) -> ServiceKey:
    # The matrix has seen to it that an editing command names its service.
    assert request.protocol is not None
    assert request.service is not None
    return ServiceKey(request.protocol, request.service.address, request.service_port)


def _real_server(request: Request) -> RealServer:
    assert request.real is not None
    address = request.real.address
    if address.is_multicast or address.is_unspecified or address == _BROADCAST:
        raise Fault(_NOT_UNICAST, requests.REFUSED)
    return RealServer(request.real.address, request.real_port, request.method, request.weight)


def _print_usage(request: Request, env: Environment) -> int:
    from onevip.command.ipvsadm.usage import HELP, VERSION

    env.stdout.write(VERSION + HELP if request.command == "help" else VERSION)
    return 0


def _refuse_what_is_missing(request: Request) -> None:
    """Raises Fault for what ipvsadm has and onevip does not have yet."""
    if request.command in _UNSUPPORTED_COMMANDS:
        raise _unsupported(request.command, COMMANDS[request.command][0])
    for option in request.given:
        if option == "tun-info" and "connection" in request.given:
            continue  # taken without a meaning
        if option not in _SUPPORTED_OPTIONS:
            raise _unsupported(option, OPTIONS[option][0])
    for endpoint in (request.service, request.real):
        if endpoint is not None and endpoint.address.version == 6:
            raise Fault(f"ipvsadm: IPv6 ({endpoint.address}) is not supported by onevip yet")


def _unsupported(long: str, letter: str) -> Fault:
    name = f"-{letter} ({long})" if letter else f"--{long}"
    return Fault(f"ipvsadm: {name} is not supported by onevip yet")


def _list(request: Request, engine: Engine, env: Environment) -> None:
    if "connection" in request.given:
        _list_connections(request, engine, env)
        return
    from onevip.command.ipvsadm import listing

    key = _service_key(request) if request.service is not None else None
    layout = next(name for name in listing.FORMATS if name in request.given or name == "plain")
    for line in listing.lines(
        engine.snapshot(key),
        listing.FORMATS[layout],
        numeric="numeric" in request.given,
        exact="exact" in request.given,
        in_order="nosort" not in request.given,
        header=key is None,
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


def _refusal(request: Request, error: OnevipError) -> str:
    """What the original prints when the kernel refuses, or the engine's own sentence."""
    for kind, text in _REFUSALS.get(request.command, {}).items():
        if isinstance(error, kind):
            return text
    return f"ipvsadm: {error}"
