"""What a section says about health: one Check for each of its real servers.

Sets only what the check's type and service use, so that equal checks are one (model.Check).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from onevip.config import directives as d
from onevip.config.conversations import conversation
from onevip.config.directives import Directive
from onevip.config.given import Given
from onevip.config.names import PORT_OF_SERVICE, SERVICE_OF_PORT, Address
from onevip.config.place import Place
from onevip.config.servers import RealLine
from onevip.model import (
    Check,
    CheckPath,
    CheckType,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
)

DEFAULT_CHECK_TIMEOUT_S = 5
DEFAULT_NEGOTIATE_TIMEOUT_S = 30
DEFAULT_CHECK_INTERVAL_S = 10
DEFAULT_CHECK_COMMAND = "/bin/true"

_NEGOTIATED = (CheckType.NEGOTIATE, CheckType.COMBINED)
_EXTERNAL = (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)
_NEVER_PROBED = (CheckType.ON, CheckType.OFF)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the real servers of a section are checked."""

    type: CheckType
    service: str
    connects: int = 0


def kind(given: Given, place: Place, key: ServiceKey) -> Kind:
    """Warns of what has no effect on such a check."""
    check_type, connects = given.get(d.CHECKTYPE) or (CheckType.NEGOTIATE, 0)
    if check_type is CheckType.CONNECT and key.protocol is Protocol.UDP:
        check_type = CheckType.PING  # as in ldirectord: UDP has no connect that could fail
    if given.get(d.CHECKINTERVAL) and not _forks(given):
        at = given.place(d.CHECKINTERVAL) or place
        at.warn(
            f"checkinterval in virtual service {_id(key)} ignored when fork=no",
            ours=False,
            placed=False,
        )
    path = given.nearest_place(d.CHECKPATH)
    if path and given.either(d.CHECKPATH):
        if key.mark:
            path.warn(f"checkpath=vip: {_id(key)} has no VIP, checks go to the real server")
        elif check_type in _EXTERNAL:
            path.warn(f"checkpath=vip is not for checktype={check_type.value} of {_id(key)}")
    return Kind(check_type, service_name(given, key), connects)


def service_name(given: Given, key: ServiceKey) -> str:
    """The service on the real servers; of a mark it must be named."""
    return given.get(d.SERVICE) or ("none" if key.mark else SERVICE_OF_PORT.get(key.port, "none"))


def check(kind: Kind, given: Given, key: ServiceKey, line: RealLine, real: RealServer) -> Check:
    """How this real server of that line is checked."""
    path = _path(kind, given, key, real)
    common = Check(
        type=kind.type,
        address=real.address,
        port=_check_port(kind, key, line, given, path),
        timeout_s=float(timeout_s(given, d.CHECKTIMEOUT, d.NEGOTIATETIMEOUT)),
        interval_s=check_interval_s(given),
        failure_count=given.either(d.FAILURECOUNT) or 1,
        rise_count=given.either(d.RISECOUNT) or 1,
        jitter=given.either(d.CHECKJITTER) or 0,
        path=path,
    )
    if kind.type is CheckType.PING:
        return replace(common, port=0, ping_count=given.either(d.CHECKCOUNT) or 1)
    if kind.type in _EXTERNAL:
        return replace(
            common,
            command=given.get(d.CHECKCOMMAND) or DEFAULT_CHECK_COMMAND,
            arguments=_arguments(key, real.address, line.port),
        )
    if kind.type not in _NEGOTIATED:
        return common
    return replace(
        common,
        service=kind.service,
        connects=kind.connects,
        negotiate_timeout_s=float(timeout_s(given, d.NEGOTIATETIMEOUT, d.CHECKTIMEOUT)),
        **conversation(kind.service, given, key, line),
    )


def check_interval_s(given: Given) -> float:
    """Seconds from the start of one probe to the start of the next. A section's own: with fork."""
    interval = given.get(d.CHECKINTERVAL) if given.outer is None or _forks(given) else None
    if interval is None and given.outer:
        interval = given.outer.get(d.CHECKINTERVAL)
    return float(interval or DEFAULT_CHECK_INTERVAL_S)


def timeout_s(given: Given, own: Directive[int], other: Directive[int]) -> int:
    """The section's own timeout, else its other one, else the global ones in the same order."""
    for values in (given, given.outer):
        for directive in (own, other):
            if values and (seconds := values.get(directive)):
                return seconds
    return DEFAULT_CHECK_TIMEOUT_S if own is d.CHECKTIMEOUT else DEFAULT_NEGOTIATE_TIMEOUT_S


def _arguments(key: ServiceKey, address: Address, port: int) -> tuple[str, ...]:
    """Of an external check: VIP or mark, its port, RIP, its port; 0 for one that is not given."""
    vip = str(key.mark) if key.mark else _bracketed(key.address)
    return (vip, str(key.port), _bracketed(address), str(port))


def _path(kind: Kind, given: Given, key: ServiceKey, real: RealServer) -> CheckPath | None:
    """The way of packets to the VIP; masq's way to the real server is that of every check."""
    if not given.either(d.CHECKPATH) or key.mark or real.method is ForwardingMethod.MASQ:
        return None
    if kind.type not in (*_NEGOTIATED, CheckType.CONNECT, CheckType.PING):
        return None
    return CheckPath(key, real.key, real.method)


def _check_port(
    kind: Kind, key: ServiceKey, line: RealLine, given: Given, path: CheckPath | None
) -> int:
    # By way of the VIP packets keep its port.
    port = given.get(d.CHECKPORT) or (key.port if path else line.port)
    if port:
        return port
    port = PORT_OF_SERVICE.get(kind.service, key.port)
    if kind.type in _NEVER_PROBED or (kind.type in _NEGOTIATED and kind.service == "none"):
        return port
    if port == 0 and kind.type is CheckType.CONNECT:
        line.place.warn("there is no port to connect to, so it counts as down: give checkport")
    if key.port and port != key.port and kind.type in (*_NEGOTIATED, CheckType.CONNECT):
        line.place.warn(
            f"neither the real server nor checkport gives a port: checks go to port {port} of "
            f"service={kind.service}, connections to port {key.port}"
        )
    return port


def _forks(given: Given) -> bool:
    return (given.outer or given).get(d.FORK) is True


def _bracketed(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _id(key: ServiceKey) -> str:
    """`tcp:192.0.2.1:80`, as ConfiguredService.id."""
    if key.mark:
        return f"fwm{'6' if key.address.version == 6 else ''}:{key.mark}"
    return f"{key.protocol.name.lower()}:{_bracketed(key.address)}:{key.port}"
