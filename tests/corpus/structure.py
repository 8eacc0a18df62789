"""What onevip read, in the shape of the real program's own structure, so that the two compare.

Numbers and their texts are one here: the real program keeps what it read as text. A password is
compared, too; this is the only place outside the wire that reveals one.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from onevip.config import Reading, checks, conversations
from onevip.config import directives as d
from onevip.config.fallbacks import FallbackLine
from onevip.config.given import Given
from onevip.config.names import PORT_OF_SERVICE, Address
from onevip.config.sections import SectionRead, own_fallback
from onevip.config.servers import RealLine
from onevip.model import CheckType, Phase, Protocol, Secret

_PHASES = {Phase.STARTING: 1, Phase.RUNNING: 2, Phase.STOPPING: 4, Phase.RELOADING: 8}
_FLAG = {"masq": "-m", "gate": "-g", "ipip": "-i"}
_PROTOCOL_FLAG = {"tcp": "-t", "udp": "-u", "fwm": "-f"}
_BLANKS = re.compile(r"\s+(?=:|$)")
Values = dict[str, Any]


def of(reading: Reading) -> Values:
    """Globals, sections and their real servers."""
    sections = [_section(section) for section in reading.sections]
    return plain(
        {
            "globals": _globals(reading.globally),
            "virtual": sections,
            "counts": {
                "virtuals": len(sections),
                "reals": sum(len(section["real"]) for section in sections),
            },
        }
    )


def plain(value: Any) -> Any:
    """The same with every number as its text, and without what is not given.

    Blanks at the end of a value mean nothing to anybody, and we drop them; an id has values
    inside.
    """
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return _BLANKS.sub("", str(value))


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _globals(given: Given) -> Values:
    phases = given.get(d.EMAILALERTSTATUS)
    freq = given.get(d.EMAILALERTFREQ)
    logfile = given.get(d.LOGFILE)
    return {
        "autoreload": _yes(given.get(d.AUTORELOAD) or False),
        "callback": given.get(d.CALLBACK),
        "checkcount": given.get(d.CHECKCOUNT) or 1,
        "checkinterval": given.get(d.CHECKINTERVAL) or 10,
        "checktimeout": given.get(d.CHECKTIMEOUT) or -1,
        "cleanstop": _yes(given.get(d.CLEANSTOP) is not False),
        "emailalert": given.get(d.EMAILALERT) or "",
        "emailalertfreq": freq or 0,
        "emailalertfrom": given.get(d.EMAILALERTFROM),
        "emailalertstatus": 15 if phases is None else _phases(phases),
        "execute": sorted(given.children),
        "failurecount": given.get(d.FAILURECOUNT) or 1,
        "fallback": _global_fallback(given.get(d.FALLBACK), 4),
        "fallback6": _global_fallback(given.get(d.FALLBACK6), 6),
        "fallbackcommand": given.get(d.FALLBACKCOMMAND),
        "fork": _yes(given.get(d.FORK) or False),
        "logfile": "/var/log/ldirectord.log" if logfile is None else logfile,
        "maintenancedir": given.get(d.MAINTENANCEDIR),
        "negotiatetimeout": given.get(d.NEGOTIATETIMEOUT) or -1,
        "quiescent": _yes(given.get(d.QUIESCENT) or False),
        "readdquiescent": _yes(given.get(d.READDQUIESCENT) or False),
        "smtp": given.get(d.SMTP),
        "supervised": _yes(given.get(d.SUPERVISED) or False),
    }


def _phases(phases: frozenset[Phase]) -> int:
    return sum(_PHASES[phase] for phase in phases)


def _global_fallback(line: FallbackLine | None, version: int) -> Values | None:
    if line is None:
        return None
    return {protocol: _fallback(line, version, protocol, None) for protocol in ("tcp", "udp")}


def _fallback(line: FallbackLine, version: int, protocol: str, default: Any) -> Values:
    return {
        "forward": line.method.name.lower(),
        "l-threshold": 0,
        "u-threshold": 0,
        "weight": 1,
        "port": line.port(protocol) if line.port_text else default,
        "server": _bracketed(line.address(version)),
    }


def _bracketed(address: Address) -> str:
    if address.version == 4:
        return str(address)
    return f"[{socket.inet_ntop(socket.AF_INET6, address.packed)}]"


def _section(section: SectionRead) -> Values:
    given, key = section.given, section.key
    assert key is not None
    check_type, connects = given.get(d.CHECKTYPE) or (CheckType.NEGOTIATE, 0)
    phases = given.get(d.EMAILALERTSTATUS)
    own = own_fallback(section)
    version, protocol = section.head.version, section.protocol
    service = checks.service_name(given, key)
    return {
        "addressfamily": int(socket.AF_INET6 if version == 6 else socket.AF_INET),
        "checkcommand": given.get(d.CHECKCOMMAND) or "/bin/true",
        "checkcount": given.either(d.CHECKCOUNT) or 1,
        "checkinterval": given.get(d.CHECKINTERVAL),
        "checkport": given.get(d.CHECKPORT),
        "checktimeout": checks.timeout_s(given, d.CHECKTIMEOUT, d.NEGOTIATETIMEOUT),
        "checktype": check_type.value,
        "cleanstop": _yes(given.get(d.CLEANSTOP)),
        "comment": given.get(d.COMMENT),
        "database": given.get(d.DATABASE) or "",
        "emailalert": given.get(d.EMAILALERT),
        "emailalertfreq": given.get(d.EMAILALERTFREQ),
        "emailalertstatus": None if phases is None else _phases(phases),
        "failurecount": given.either(d.FAILURECOUNT) or 1,
        "fallback": _fallback(own, version, protocol, key.port) if own else None,
        "fallbackcommand": given.get(d.FALLBACKCOMMAND),
        "flags": _flags(section, protocol),
        "fwm": key.mark or None,
        "httpmethod": given.get(d.HTTPMETHOD) or "GET",
        "id": section.id,
        "load": given.get(d.LOAD),
        "login": conversations.login(given),
        "monitorfile": given.get(d.MONITORFILE),
        "negotiatetimeout": checks.timeout_s(given, d.NEGOTIATETIMEOUT, d.CHECKTIMEOUT),
        "netmask": _netmask(given),
        "num_connects": connects,
        "ops": _yes(given.get(d.OPS) or False),
        "passwd": conversations.passwd(given).reveal(),
        "persistent": given.get(d.PERSISTENT),
        "port": key.port,
        "proto": _PROTOCOL_FLAG[protocol],
        "protocol": protocol,
        "quiescent": _yes(given.get(d.QUIESCENT)),
        "real": [
            _real(section, service, line, address)
            for line in section.reals
            for address in line.addresses
        ],
        "receive": given.get(d.RECEIVE) or "",
        "request": given.get(d.REQUEST) or "/",
        "schedflags": given.get(d.SCHEDFLAGS),
        "scheduler": given.get(d.SCHEDULER) or "wrr",
        "secret": (given.get(d.SECRET) or Secret("")).reveal(),
        "server": None if key.mark else _bracketed(key.address),
        "service": service,
        "servicename": given.get(d.SERVICENAME),
        "smtp": given.get(d.SMTP),
        "virtualhost": given.get(d.VIRTUALHOST),
    }


def _netmask(given: Given) -> str | None:
    place, netmask = given.place(d.NETMASK), given.get(d.NETMASK)
    if place is None or netmask is None:
        return None
    parts = place.line.directive()
    written = parts[1] if parts else ""
    prefix = 128 - (int(netmask) ^ (1 << 128) - 1).bit_length()
    assert netmask.version == 4 or prefix == int(written)
    return written


def _flags(section: SectionRead, protocol: str) -> str:
    given, key = section.given, section.key
    assert key is not None
    name = str(key.mark) if key.mark else section.id.partition(":")[2]
    family = " -6" if key.mark and section.head.version == 6 else ""
    flags = f"{_PROTOCOL_FLAG[protocol]} {name}{family} "
    if key.protocol is Protocol.UDP and given.get(d.OPS):
        flags += "-o "
    flags += f"-s {given.get(d.SCHEDULER) or 'wrr'} "
    if persistent := given.get(d.PERSISTENT):
        flags += f"-p {persistent} "
        flags += f"-M {mask} " if (mask := _netmask(given)) else ""
    if schedflags := given.get(d.SCHEDFLAGS):
        flags += f"-b {schedflags} "
    return flags


def _real(section: SectionRead, service: str, line: RealLine, address: Address) -> Values:
    given, method = section.given, line.method.name.lower()
    request = conversations.request(line, given)
    receive = conversations.receive(line, given)
    check_type = (given.get(d.CHECKTYPE) or (CheckType.NEGOTIATE, 0))[0]
    return {
        "failcount": 0,
        "forw": _FLAG[method],
        "forward": method,
        "id": ":".join(
            (
                _kind(check_type, service, given),
                section.protocol,
                _bracketed(address),
                str(line.port),
                given.get(d.VIRTUALHOST) or "",
                str(given.get(d.CHECKPORT) or ""),
                str(line.weight),
                method,
                quotemeta(request),
                quotemeta(receive),
            )
        ),
        "l-threshold": line.lower_threshold or None,
        "u-threshold": line.upper_threshold or None,
        "num_connects": 999999 if check_type is CheckType.COMBINED else -1,
        "port": line.port,
        "receive": receive,
        "request": request,
        "server": _bracketed(address),
        "url": _url(section, service, line, address, request),
        "weight": line.weight,
    }


def _kind(check_type: CheckType, service: str, given: Given) -> str:
    if check_type in (CheckType.NEGOTIATE, CheckType.COMBINED):
        return f"{check_type.value}:{service}"
    if check_type in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL):
        return f"{check_type.value}:{given.get(d.CHECKCOMMAND) or '/bin/true'}"
    return check_type.value


def quotemeta(text: str) -> str:
    """Perl's, over bytes."""
    data = text.encode("utf-8", "surrogateescape")
    return re.sub(rb"[^A-Za-z0-9_]", lambda match: b"\\" + match[0], data).decode(
        "utf-8", "surrogateescape"
    )


def _url(section: SectionRead, service: str, line: RealLine, address: Address, request: str) -> str:
    path = request.removeprefix("/")
    schema = "http" if service == "http_proxy" else service
    port = section.given.get(d.CHECKPORT) or line.port or PORT_OF_SERVICE.get(service, "")
    if line.request is None and service == "http_proxy":
        return path
    if line.request is not None and f"{schema}://" in request:
        return path
    return f"{schema}://{_bracketed(address)}:{port}/{path}"
