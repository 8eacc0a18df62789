"""What a configuration means, as text for people and as JSON for programs. Secrets are `***`."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from onevip.model import (
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    MailAlert,
    Phase,
    RealServer,
    Secret,
    Tls,
    Verify,
)
from onevip.model.scheduler_flags import words_of_flags
from onevip.model.secret import NO_SECRET


def lines(configuration: Configuration) -> Iterator[str]:
    """Services, real servers, checks, fallbacks, mails, files."""
    services = configuration.services
    reals = sum(len(service.real_servers) for service in services)
    yield f"{configuration.file}: good, {len(services)} services, {reals} real servers"
    yield from _globally(configuration)
    for service in services:
        yield ""
        yield from _service(service)


def as_json(value: Any) -> Any:
    """Any value of the model: dataclasses by field, enums by name, secrets hidden."""
    if isinstance(value, Secret | IPv4Address | IPv6Address):
        return str(value) if value != NO_SECRET else ""
    if isinstance(value, enum.IntFlag):
        return int(value)
    if isinstance(value, enum.Enum):
        return value.name.lower().replace("_", "-")
    if dataclasses.is_dataclass(value):
        return {one.name: as_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple | frozenset):
        items = [as_json(one) for one in value]
        return sorted(items) if isinstance(value, frozenset) else items
    return value


def _globally(configuration: Configuration) -> Iterator[str]:
    log = configuration.log_file
    yield f"  log: {log if log.startswith('/') else f'syslog, facility {log}'}"
    for name, said in (
        ("autoreload", "the file is read again when it changes"),
        ("supervised", "stays in the foreground"),
        ("fork", "accepted: checks never wait for each other anyway"),
        ("readd_quiescent", "a real server that is down is put into the table with weight 0"),
    ):
        if getattr(configuration, name):
            yield f"  {name.replace('_', '')}: {said}"
    for name, value in (
        ("callback", configuration.callback),
        ("maintenancedir", configuration.maintenance_dir),
        ("execute", ", ".join(configuration.children)),
    ):
        if value:
            yield f"  {name}: {value}"


def _service(service: ConfiguredService) -> Iterator[str]:
    yield f"{service.key}, scheduler {service.scheduler}{_options(service)}, line {service.line}"
    for server in service.real_servers:
        yield from _server(server)
    if service.fallback:
        yield f"  fallback {_real(service.fallback)}, when none of them is up"
    if service.fallback_command:
        yield f"  then also run: {service.fallback_command}"
    yield (
        "  a server that is down "
        + ("keeps its place with weight 0" if service.quiescent else "leaves the table")
        + (", the service stays when the daemon ends" if not service.cleanstop else "")
    )
    if service.mail:
        yield f"  mail {_mail(service.mail)}"
    for name, value in (
        ("monitorfile", service.monitor_file),
        ("servicename", service.service_name),
        ("comment", service.comment),
    ):
        if value:
            yield f"  {name}: {value}"


def _options(service: ConfiguredService) -> str:
    options = service.options
    words = [*words_of_flags(service.scheduler, options.flags)] if options.flags else []
    text = f" ({', '.join(words)})" if words else ""
    if options.persistent_s:
        text += f", persistent {options.persistent_s} s"
        text += f" by netmask {options.netmask}" if options.netmask else ""
    return text + (", one packet" if options.one_packet else "")


def _server(server: ConfiguredRealServer) -> Iterator[str]:
    name = f" ({server.host})" if server.host else ""
    yield f"  {_real(server.real)}{name}: {check(server.check)}"


def _real(real: RealServer) -> str:
    text = f"{real.key} {real.method.name.lower()} weight {real.weight}"
    if real.upper_threshold:
        text += f", {real.lower_threshold}..{real.upper_threshold} connections"
    return text


def check(one: Check) -> str:
    """`http GET / on port 80, body must match /ok/, every 10 s, limit 30 s`."""
    if one.type is CheckType.ON:
        return "always up"
    if one.type is CheckType.OFF:
        return "never probed: as it is found"
    if not one.probes:
        return "up without a check (service=none)"
    limit = one.timeout_s
    if one.type is CheckType.COMBINED:
        what = f"{one.connects} connects to port {one.port}, then {_conversation(one)}"
        limit = one.negotiate_timeout_s
    elif one.type is CheckType.NEGOTIATE:
        what, limit = _conversation(one), one.negotiate_timeout_s
    elif one.type is CheckType.CONNECT:
        what = f"connect to port {one.port}"
    elif one.type is CheckType.PING:
        what = "ping" + (f", {one.ping_count} times at most" if one.ping_count > 1 else "")
    else:
        what = f"{one.type.value} {' '.join((one.command, *one.arguments))}"
    jitter = f" ± {one.jitter} %" if one.jitter else ""
    text = f"{what}, every {one.interval_s:g} s{jitter}, limit {limit:g} s"
    if one.failure_count > 1:
        text += f", down after {one.failure_count} failures"
    if one.rise_count > 1:
        text += f", up after {one.rise_count} successes"
    return text + (", by the way of clients to the VIP" if one.path else "")


def _conversation(one: Check) -> str:
    text = f"{one.service} on port {one.port}"
    if one.service in ("http", "https", "http_proxy"):
        text = f"{one.service} {one.http_method} {one.request} on port {one.port}"
        text += f" for {one.virtualhost}" if one.virtualhost else ""
    elif one.request != "/":
        text += f" asking {one.request.removeprefix('/')}"
    if one.receive:
        text += f", answer must match /{one.receive}/"
    if one.login:
        text += f", login {one.login}"
    if one.passwd:
        text += f", password {one.passwd}"
    if one.secret:
        text += f", secret {one.secret}"
    return text + _tls(one)


def _tls(one: Check) -> str:
    if one.tls == Tls() and one.service not in ("https", "imaps", "ldaps", "pops"):
        return ""
    said = {
        Verify.NONE: "certificate not looked at",
        Verify.CHAIN: "certificate chain verified",
        Verify.NAME: "certificate chain and name verified",
    }[one.tls.verify]
    return f", {said}" + (f" with {one.tls.ca_file}" if one.tls.ca_file else "")


def _mail(mail: MailAlert) -> str:
    by = f"by {mail.smtp_host}" if mail.smtp_host else "by sendmail"
    text = f"to {', '.join(mail.to)} {by}"
    if mail.sender:
        text += f" from {mail.sender}"
    if mail.phases != frozenset(Phase):
        phases = sorted(phase.value for phase in mail.phases)
        text += f" while {', '.join(phases) if phases else 'never'}"
    return text + (f", again every {mail.repeat_s:g} s" if mail.repeat_s else "")
