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
    ServiceOptions,
    Table,
)
from onevip.model.scheduler_flags import words_of_flags


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
            words = [f"scheduler {change.scheduler}", *_options(change.scheduler, change.options)]
            return f"virtual service {change.service} added, {', '.join(words)}"
        case EditService():
            return f"virtual service {change.service}: {_edited(before, change)}"
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
    weight = _weight(found, after)
    return f"{role} {key} of {change.service}: {method}{weight}{_thresholds(found, after)}"


def _edited(before: Table, change: EditService) -> str:
    """`scheduler wrr -> sh, persistent 300 s -> persistent 300 s, sh-port`."""
    old = before.get(change.service)
    if old is None:
        return f"scheduler ? -> {change.scheduler}"
    words = []
    if old.scheduler != change.scheduler:
        words.append(f"scheduler {old.scheduler} -> {change.scheduler}")
    if old.options != change.options:
        was = ", ".join(_options(old.scheduler, old.options)) or "no options"
        now = ", ".join(_options(change.scheduler, change.options)) or "no options"
        words.append(f"{was} -> {now}")
    return ", ".join(words)


def _options(scheduler: str, options: ServiceOptions) -> list[str]:
    """`persistent 300 s`, `mask 255.255.255.0`, `one-packet`, `sh-port`: what is set of these."""
    words = []
    if options.persistent_s:
        words.append(f"persistent {options.persistent_s} s")
    if options.netmask is not None:
        words.append(f"mask {options.netmask}")
    if options.one_packet:
        words.append("one-packet")
    return words + words_of_flags(scheduler, options.flags)


def _is_fallback(configuration: Configuration, service: ServiceKey, key: RealServerKey) -> bool:
    configured = configuration.service(service)
    if configured is None or configured.fallback is None or configured.fallback.key != key:
        return False
    return configuration.real_server(service, key) is None


def _weight(before: RealServer | None, after: RealServer | None) -> str:
    if before is None:
        return f"added with weight {after.weight}" if after else "stays out of the table"
    if after is None:
        return f"removed, weight was {before.weight}"
    if before.weight == after.weight:
        return f"weight stays {after.weight}"
    return f"weight {before.weight} -> {after.weight}"


def _thresholds(before: RealServer | None, after: RealServer | None) -> str:
    """`, upper threshold 0 -> 100`, where it changes."""
    was = (before.upper_threshold, before.lower_threshold) if before else (0, 0)
    now = (after.upper_threshold, after.lower_threshold) if after else (0, 0)
    return "".join(
        f", {name} threshold {old} -> {new}"
        for name, old, new in zip(("upper", "lower"), was, now, strict=True)
        if after is not None and old != new
    )
