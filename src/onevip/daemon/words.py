"""What the log says of verdicts and changes. Text only."""

from __future__ import annotations

from onevip.health import State
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Configuration,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
)


def verdict(
    service: ServiceKey,
    real: RealServerKey,
    state: State,
    before: RealServer | None,
    after: RealServer | None,
) -> str:
    """`real server R of S is down: connection refused; weight 2 -> 0`."""
    return f"{verdict_alone(service, real, state)}; {_weight(before, after)}"


def verdict_alone(service: ServiceKey, real: RealServerKey, state: State) -> str:
    return f"real server {real} of {service} is {state.verdict.value}: {state.reason}"


def soft_failure(service: ServiceKey, real: RealServerKey, state: State) -> str:
    """A failure that is not the last straw yet."""
    return (
        f"real server {real} of {service} failed {state.failures} of {state.failure_count} "
        f"times: {state.reason}"
    )


def change(change: Change, before: Table, configuration: Configuration) -> str:
    """A change in a sentence; `before` is the table to which it was applied."""
    after: RealServer | None = None
    match change:
        case AddService():
            return f"virtual service {change.service} added, scheduler {change.scheduler}"
        case EditService():
            old = before.get(change.service)
            return (
                f"virtual service {change.service}: scheduler "
                f"{old.scheduler if old else '?'} -> {change.scheduler}"
            )
        case DeleteService():
            return f"virtual service {change.service} deleted"
        case AddRealServer() | EditRealServer():
            key, after = change.real.key, change.real
        case DeleteRealServer():
            key = change.real
        case _:
            return str(change)
    service = before.get(change.service)
    found = service.real_server(key) if service else None
    role = "fallback server" if _is_fallback(configuration, change.service, key) else "real server"
    method = ""
    if found and after and found.method is not after.method:
        method = f"{found.method.name.lower()} -> {after.method.name.lower()}, "
    return f"{role} {key} of {change.service}: {method}{_weight(found, after)}"


def _is_fallback(configuration: Configuration, service: ServiceKey, key: RealServerKey) -> bool:
    return any(
        configured.key == service
        and configured.fallback is not None
        and configured.fallback.key == key
        and all(server.real.key != key for server in configured.real_servers)
        for configured in configuration.services
    )


def _weight(before: RealServer | None, after: RealServer | None) -> str:
    if before is None:
        return f"added with weight {after.weight}" if after else "stays out of the table"
    if after is None:
        return f"removed, weight was {before.weight}"
    if before.weight == after.weight:
        return f"weight stays {after.weight}"
    return f"weight {before.weight} -> {after.weight}"
