"""One `virtual=` section → one ConfiguredService: defaults, fall-back chains, what fits."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from onevip.config import directives as d
from onevip.config.directives import Directive, Given
from onevip.config.head import Head
from onevip.config.names import PORT_OF_SERVICE, SERVICE_OF_PORT, SERVICES
from onevip.config.options import options as section_options
from onevip.config.place import Place
from onevip.config.servers import FallbackLine, RealLine
from onevip.model import (
    Check,
    CheckType,
    ConfiguredRealServer,
    ConfiguredService,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
)

DEFAULT_CHECK_TIMEOUT_S = 5
DEFAULT_NEGOTIATE_TIMEOUT_S = 30
DEFAULT_CHECK_INTERVAL_S = 10


def service(place: Place, head: Head, given: Given) -> ConfiguredService:
    """The service that a section describes. Raises ConfigError."""
    key = head.key(place, given.get(d.PROTOCOL))
    scheduler = given.get(d.SCHEDULER) or "wrr"
    options = section_options(key, scheduler, given)
    if not key.mark and key.port == 0 and not options.persistent_s:
        raise place.error("port 0 (all ports) needs persistence", "as in persistent=600")
    return ConfiguredService(
        key=key,
        scheduler=scheduler,
        options=options,
        real_servers=_real_servers(place, key, given),
        fallback=_fallback(key, given.either(d.FALLBACK)),
        quiescent=given.either(d.QUIESCENT) is True,
        cleanstop=given.either(d.CLEANSTOP) is not False,
        line=place.line.number,
    )


def check_interval_s(given: Given) -> float:
    """Seconds from the start of one probe to the start of the next."""
    interval = given.either(d.CHECKINTERVAL)
    return float(DEFAULT_CHECK_INTERVAL_S if interval is None else interval)


def _fallback(key: ServiceKey, line: FallbackLine | None) -> RealServer | None:
    if line is None:
        return None
    # A mark has no protocol: then a named port is TCP's.
    port = line.port("udp" if key.protocol is Protocol.UDP else "tcp") or key.port
    return RealServer(line.address, _table_port(key, port, line.method), line.method, weight=1)


def _table_port(key: ServiceKey, port: int, method: ForwardingMethod) -> int:
    """gate and ipip deliver the packet as it came: IPVS stores the virtual port (spec §5.2).

    A firewall mark has none: then the port stays as it was given.
    """
    return port if key.mark or method is ForwardingMethod.MASQ else key.port


def _real_servers(place: Place, key: ServiceKey, given: Given) -> tuple[ConfiguredRealServer, ...]:
    check_type, service_name = _check_type(place, key, given)
    found: dict[object, ConfiguredRealServer] = {}
    for line in given.real_lines:
        check_port = _check_port(key, line, given, service_name)
        if check_port == 0 and check_type is CheckType.CONNECT:
            line.place.warn("there is no port to connect to, so it counts as down: give checkport")
        for address in line.addresses:
            port = _table_port(key, line.port or key.port, line.method)
            if line.port and port != line.port:
                line.place.warn(
                    f"{line.method.name.lower()} cannot change the port: the table holds "
                    f"{address}:{port} instead of {address}:{line.port}"
                )
            real = RealServer(
                address,
                port,
                line.method,
                line.weight,
                line.upper_threshold,
                line.lower_threshold,
            )
            if real.key in found:
                line.place.warn(f"{real.key} stands twice in {key}: this line is the one used")
            check = _check(check_type, address, check_port, line, given)
            found[real.key] = ConfiguredRealServer(real, check)
    return tuple(found.values())


def _check_type(place: Place, key: ServiceKey, given: Given) -> tuple[CheckType, str]:
    """How the section's servers are checked, and the name of the service on them."""
    checktype = given.get(d.CHECKTYPE) or "negotiate"
    service_name = given.get(d.SERVICE) or SERVICE_OF_PORT.get(key.port, "none")
    at = given.place(d.CHECKTYPE) or place
    if checktype == "connect" and key.protocol is Protocol.UDP:
        raise at.not_yet("checktype=connect with protocol=udp (ldirectord pings)")
    if checktype != "negotiate":
        return CheckType(checktype), service_name
    if service_name not in SERVICES:
        at = given.place(d.SERVICE) or place
        hint = "" if given.get(d.SERVICE) else f"it follows from port {key.port}; name another"
        raise at.not_yet(f"service '{service_name}' with checktype=negotiate", hint)
    return (CheckType.NEGOTIATE if service_name == "http" else CheckType.ON), service_name


def _check_port(key: ServiceKey, line: RealLine, given: Given, service_name: str) -> int:
    port = given.get(d.CHECKPORT) or line.port
    if port:
        return port
    port = PORT_OF_SERVICE.get(service_name, key.port)
    if key.port and port != key.port:
        line.place.warn(
            f"neither the real server nor checkport gives a port: checks go to port {port} of "
            f"service={service_name}, connections to port {key.port}"
        )
    return port


def _check(
    check_type: CheckType, address: IPv4Address, port: int, line: RealLine, given: Given
) -> Check:
    check = Check(
        type=check_type,
        address=address,
        port=port,
        timeout_s=_timeout_s(given, d.CHECKTIMEOUT, d.NEGOTIATETIMEOUT, DEFAULT_CHECK_TIMEOUT_S),
        interval_s=check_interval_s(given),
        failure_count=given.either(d.FAILURECOUNT) or 1,
    )
    if check_type is not CheckType.NEGOTIATE:
        return check
    return replace(
        check,
        service="http",
        negotiate_timeout_s=_timeout_s(
            given, d.NEGOTIATETIMEOUT, d.CHECKTIMEOUT, DEFAULT_NEGOTIATE_TIMEOUT_S
        ),
        request=line.request or given.get(d.REQUEST) or "/",
        receive=line.receive or given.get(d.RECEIVE) or "",
        virtualhost=given.get(d.VIRTUALHOST) or "",
        http_method=given.get(d.HTTPMETHOD) or "GET",
    )


def _timeout_s(given: Given, own: Directive[int], other: Directive[int], default: int) -> float:
    """The section's own timeout, else its other one, else the global ones in the same order."""
    for values in (given, given.outer):
        for directive in (own, other):
            if values and (seconds := values.get(directive)):
                return float(seconds)
    return float(default)
