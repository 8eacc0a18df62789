"""What an editing command line asks for, as one change, and the kernel's words for a refusal."""

from __future__ import annotations

from onevip.command.ipvsadm.request import Request
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
    BadThresholds,
    OnevipError,
    RealServerExists,
    ServiceExists,
    TableError,
    UnknownRealServer,
    UnknownScheduler,
    UnknownService,
)
from onevip.model.service import Timeouts

_NO_SUCH_SCHEDULER = "Scheduler or persistence engine not found"
_OUT_OF_RANGE = "Numerical result out of range"  # ERANGE

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
        BadThresholds: _OUT_OF_RANGE,
    },
    "edit-server": {
        UnknownService: "Service not defined",
        BadThresholds: _OUT_OF_RANGE,
        UnknownRealServer: "No such destination",
    },
    "delete-server": {
        UnknownService: "Service not defined",
        UnknownRealServer: "No such destination",
    },
}


def change(request: Request) -> Change:
    """The one change of the table that a request asks for. Raises Fault."""
    match request.command:
        case "clear":
            return Clear()
        case "zero":
            return Zero(request.key)
        case "add-service":
            return AddService(request.named_key, request.scheduler, request.options)
        case "edit-service":
            return EditService(request.named_key, request.scheduler, request.options)
        case "delete-service":
            return DeleteService(request.named_key)
        case "add-server":
            return AddRealServer(request.named_key, request.real_server)
        case "edit-server":
            return EditRealServer(request.named_key, request.real_server)
    return DeleteRealServer(request.named_key, request.real_server_key)


def timeouts(request: Request, before: Timeouts) -> Timeouts:
    """Those of `--set`; a 0 keeps what was before."""
    tcp_s, tcp_fin_s, udp_s = request.timeouts_s
    return Timeouts(tcp_s or before.tcp_s, tcp_fin_s or before.tcp_fin_s, udp_s or before.udp_s)


def refusal(request: Request, error: OnevipError) -> str:
    """What the original prints when the kernel refuses, or the engine's own sentence."""
    for kind, text in _REFUSALS.get(request.command, {}).items():
        if isinstance(error, kind):
            return text
    return f"ipvsadm: {error}"
