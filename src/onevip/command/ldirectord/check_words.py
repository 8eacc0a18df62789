"""How `ldirectord -d` speaks of a probe. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onevip.daemon import ldirectord_words as words
from onevip.daemon.events import Probed, Row
from onevip.daemon.real_id import real_id
from onevip.model import Check, CheckType, Protocol

_HTTP = ("http", "https", "http_proxy")

#: Probe → what is said when it begins.
_BEGUN: dict[str, str] = {
    **dict.fromkeys(_HTTP, 'check_http: url="{url}" virtualhost="{virtualhost}"'),
    "smtp": "Checking smtp: server={server} port={port}",
    "submission": "Checking submission: server={server} port={port}",
    "pop": "Checking POP3 server={server} port={port} ssl=0",
    "pops": "Checking POP3 server={server} port={port} ssl=1",
    "imap": "Checking IMAP server={server} port={port}",
    "imaps": "Checking IMAPS server={server} port={port}",
    "ldap": "Checking LDAP server={server} port={port} scheme=ldap",
    "ldaps": "Checking LDAP server={server} port={port} scheme=ldaps",
    "nntp": "Checking NNTP server={server} port={port}",
    "radius": "Checking RADIUS",
    "sip": "Checking SIP server={server} port={port}",
    "simpletcp": "Checking simpletcp server={server} port={port}",
    "ftp": "Checking FTP server={server} port={port}",
    "dns": 'Checking DNS: request="{name}" receive="{receive}"',
    "ping": 'Checking ping: host="{server}" checktimeout="{timeout:g}" checkcount="{count}"',
}


def kind(check: Check, probe: str) -> str:
    """`negotiate`, `connect`, `combined-connect` …: which sort of probe it was."""
    if check.type is CheckType.COMBINED:
        return "combined-connect" if probe == "connect" else "negotiate"
    if check.type is CheckType.CONNECT and check.protocol is Protocol.UDP:
        return "connect (ping)"
    return str(check.type.value)


def begun(check: Check, probe: str) -> str:
    """What is said when it begins; "" for nothing."""
    return _BEGUN.get(probe, "").format(
        url=url(check, probe),
        virtualhost=check.virtualhost or _server(check),
        server=_server(check),
        port=check.port,
        name=check.request.removeprefix("/"),
        receive=check.receive,
        timeout=check.timeout_s,
        count=check.ping_count,
    )


def found(event: Probed) -> str:
    """What it found, in our words."""
    probed = event.probed
    reason, server = probed.outcome.reason, _server(probed.check)
    if probed.probe in _HTTP:
        return f"DEBUG2: Return status: {reason.removeprefix('status ')}"
    if probed.probe == "ping" and probed.outcome.healthy:
        return f"DEBUG2: pong from {server}"
    return f"DEBUG2: {probed.probe} {server}:{probed.check.port}: {reason}"


def not_tried(event: Probed) -> str:
    """Instead of what was found, when the director could not try: neither up nor down."""
    probed = event.probed
    place = f"{_server(probed.check)}:{probed.check.port}"
    return f"DEBUG2: {probed.probe} {place}: not tried: {probed.outcome.reason}"


def verdict(event: Probed) -> str:
    """The last line of a probe: `check_http: http://10.0.0.1:80/ is up`."""
    probed = event.probed
    check, healthy = probed.check, probed.outcome.healthy
    if probed.probe in _HTTP:
        return f"DEBUG2: check_http: {url(check, probed.probe)} is {'up' if healthy else 'down'}"
    place = f"{_server(check)}:{check.port}"
    if healthy:
        return f"DEBUG3: Activated service {place}"
    return f"DEBUG3: Deactivated service {place}: {probed.outcome.reason}"


def url(check: Check, probe: str) -> str:
    """Of an HTTP check; a request may be a whole URL itself."""
    request = check.request.lstrip("/")
    if probe == "http_proxy" or re.match(r"https?://", request):
        return request
    return f"{probe}://{_server(check)}:{check.port}/{request}"


def rows(event: Probed) -> Iterator[tuple[Row, str]]:
    """The rows that share the check: `real server=ID (virtual=ID)`."""
    for service, real in event.rows:
        configured = words.configured_service(event.configuration, service)
        if configured is None:
            continue
        for server in configured.real_servers:
            if server.real.key == real:
                name = f"real server={real_id(configured, server)} (virtual={configured.id})"
                yield (service, real), name


def _server(check: Check) -> str:
    return f"[{check.address}]" if check.address.version == 6 else str(check.address)
