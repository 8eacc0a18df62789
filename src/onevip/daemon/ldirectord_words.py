"""What ldirectord says of changes of the table, in its own words (spec ldirectord §5, §6). Pure.

Its log and the subjects of its mails are the same sentences.
"""

from __future__ import annotations

from collections.abc import Iterator

from onevip.daemon.events import TableChanged
from onevip.health import Verdict
from onevip.model import (
    AddRealServer,
    AddService,
    Configuration,
    ConfiguredService,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Phase,
    RealServer,
    RealServerKey,
    ServiceKey,
)
from onevip.model.service import endpoint_text


def virtual(service: ServiceKey) -> str:
    """`192.0.2.1:80`, `[2001:db8::1]:80`, or a mark's number; without the protocol."""
    return str(service.mark) if service.mark else endpoint_text(service.address, service.port)


def place(service: ServiceKey, real: RealServerKey) -> str:
    """`10.0.0.1:80 (192.0.2.1:80)`: a real server and its virtual service."""
    return f"{real} ({virtual(service)})"


def inaccessible(service: ServiceKey, real: RealServerKey) -> str:
    """The mail that comes again and again while a real server is down."""
    return f"Inaccessible real server: {place(service, real)}"


def quiescent(service: ServiceKey, real: RealServerKey) -> str:
    return f"Quiescent real server: {place(service, real)} (Weight set to 0)"


def sentences(event: TableChanged) -> tuple[str, ...]:
    """What the log says of a change: a service that is deleted at the end takes its real servers
    along, one sentence each; else one sentence."""
    change = event.change
    match change:
        case AddService(service):
            return (f"Added virtual server: {virtual(service)}",)
        case EditService(service):
            return (f"Changed virtual server: {virtual(service)}",)
        case DeleteService(service):
            deleted = f"Purged virtual server ({_tag(event)}): {virtual(service)}"
            return (*_purged_with(event, service), deleted)
        case AddRealServer() | EditRealServer() | DeleteRealServer():
            return (of_real_server(event, change),)
        case _:
            return ()


def subjects(event: TableChanged) -> tuple[str, ...]:
    """What is mailed of a change: only what happens to real servers and fallback servers."""
    change = event.change
    match change:
        case DeleteService(service):
            return tuple(_purged_with(event, service))
        case AddRealServer() | EditRealServer() | DeleteRealServer():
            return (of_real_server(event, change).removeprefix("Readd "),)
        case _:
            return ()


def of_real_server(
    event: TableChanged, change: AddRealServer | EditRealServer | DeleteRealServer
) -> str:
    """The sentence of a change to one real server, or to the fallback server."""
    if isinstance(change, DeleteRealServer):
        return _deleted(event, change)
    where = place(change.service, change.real.key)
    if is_fallback(event.configuration, change.service, change.real.key):
        verb = "Added" if isinstance(change, AddRealServer) else "Restored"
        return f"{verb} fallback server: {where} (Weight set to {change.real.weight})"
    if is_made_quiescent(event, change):
        readded = isinstance(change, AddRealServer) and event.configuration.readd_quiescent
        return ("Readd " if readded else "") + quiescent(change.service, change.real.key)
    verb = "Added" if isinstance(change, AddRealServer) else "Restored"
    return f"{verb} real server: {where} (Weight set to {change.real.weight})"


def is_made_quiescent(event: TableChanged, change: AddRealServer | EditRealServer) -> bool:
    """Whether it has weight 0 now for want of health, and not because the file says so."""
    if not change.real.is_quiescent or (event.verdict and event.verdict.verdict is Verdict.UP):
        return False
    configured = configured_real(event.configuration, change.service, change.real.key)
    is_down = event.verdict is not None and event.verdict.verdict is Verdict.DOWN
    return is_down or configured is None or not configured.is_quiescent


def is_fallback(configuration: Configuration, service: ServiceKey, key: RealServerKey) -> bool:
    """Whether this row of the table is the service's fallback server, and no real server of it."""
    configured = configured_service(configuration, service)
    if configured is None or configured.fallback is None or configured.fallback.key != key:
        return False
    return configured_real(configuration, service, key) is None


def configured_service(configuration: Configuration, key: ServiceKey) -> ConfiguredService | None:
    return configuration.service(key)


def configured_real(
    configuration: Configuration, service: ServiceKey, key: RealServerKey
) -> RealServer | None:
    """The real server as its line says, at its full weight; None when no line names it."""
    server = configuration.real_server(service, key)
    return server.real if server else None


def _deleted(event: TableChanged, change: DeleteRealServer) -> str:
    where = place(change.service, change.real)
    if is_fallback(event.configuration, change.service, change.real):
        return f"Deleted fallback server: {where}"
    if configured_real(event.configuration, change.service, change.real):
        return f"Deleted real server: {where}"
    return f"Purged real server ({_tag(event)}): {where}"


def _purged_with(event: TableChanged, service: ServiceKey) -> Iterator[str]:
    """The real servers that leave at the end: those that are up, not the fallback server."""
    found = event.before.get(service)
    if event.phase is not Phase.STOPPING or found is None:
        return
    for row in found.real_servers:
        configured = configured_real(event.configuration, service, row.key)
        if configured and (not row.is_quiescent or configured.is_quiescent):
            yield f"Purged real server (stop): {place(service, row.key)}"


def _tag(event: TableChanged) -> str:
    """At a reload, too, it is "start"."""
    return "stop" if event.phase is Phase.STOPPING else "start"
