"""The grammar of `real=` and `fallback=` (spec ldirectord §3.2). Looks names up; decides nothing
about the service in which the line stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

from onevip.config.names import to_port
from onevip.config.place import Place
from onevip.config.values import checked_regex, with_slash
from onevip.model import ForwardingMethod

METHODS = {
    "gate": ForwardingMethod.GATE,
    "masq": ForwardingMethod.MASQ,
    "ipip": ForwardingMethod.IPIP,
}
_METHOD_ERROR = "forward method must be gate, masq or ipip"
_WRONG_FORMAT = "invalid address for real server (wrong format)"
MAX_WEIGHT = 65535  # ipvsadm's limit (spec ipvs §4.0)
MAX_THRESHOLD = 2**31 - 1
MAX_RANGE = 65536

_HOST = r"[A-Za-z0-9_.+-]+"
# Not anchored: ldirectord takes the first thing in the line that fits.
_REAL = re.compile(rf"({_HOST})(?:->({_HOST}))?(?::({_HOST}))?\s+(.*)")
_REQUEST_RECEIVE = re.compile(r'\s*"(.*)"[, ]\s*"(.*)"(.*)')
_FALLBACK = re.compile(rf"({_HOST})(?::({_HOST}))?(?:\s+(.*))?$")


@dataclass(frozen=True, slots=True)
class RealLine:
    """A `real=` line: one real server, or a range of them."""

    place: Place
    addresses: tuple[IPv4Address, ...]
    port: int | None
    method: ForwardingMethod
    weight: int
    request: str | None
    receive: str | None
    upper_threshold: int
    lower_threshold: int


@dataclass(frozen=True, slots=True)
class FallbackLine:
    """A `fallback=` line; its port may differ by protocol when it is a name."""

    place: Place
    address: IPv4Address
    port_text: str | None
    method: ForwardingMethod

    def port(self, protocol: str) -> int | None:
        """The port written, None when none is. Raises ConfigError when it has no number."""
        if self.port_text is None:
            return None
        port = to_port(self.port_text, protocol, self.place.source.port_of)
        if port is None:
            raise self.place.error("invalid port for fallback server")
        return port


def real(value: str, place: Place) -> RealLine:
    """`<host>[-><host>][:<port>] <gate|masq|ipip> [weight] ["request", "receive"] [l:n] [u:n]`."""
    if re.match(r"\s*\[", value):
        raise place.not_yet("an IPv6 real server")
    match = _REAL.search(value)
    if match is None:
        raise place.error(_WRONG_FORMAT)
    first, last, port_text, rest = match.groups()
    addresses = _addresses(first, last, place)
    port = None
    if port_text is not None:
        port = to_port(port_text, None, place.source.port_of)
        if port is None:
            raise place.error(
                f"invalid port ({port_text}) for real server (could not resolve port)"
            )
    method, rest = _method(rest, place)
    weight, rest = _weight(rest, place)
    request, receive, rest = _request_receive(rest, place)
    lower, rest = _threshold("l", rest, place)
    upper, rest = _threshold("u", rest, place)
    if rest.strip():
        raise place.error(f'Invalid real server line, around "{rest}"')
    if lower > upper:
        raise place.error(
            f"lower threshold l:{lower} is above the upper one, u:{upper}",
            "l: stands before u:, without quotes",
        )
    return RealLine(place, addresses, port or None, method, weight, request, receive, upper, lower)


def fallback(value: str, place: Place) -> FallbackLine:
    """`<host>[:<port>] [gate|masq|ipip]`."""
    match = _FALLBACK.match(value)
    host, port_text, method = match.groups() if match else (value, None, None)
    address = place.source.resolve(host) if match else None
    if address is None:
        raise place.error(f"invalid IPv4 address or could not resolve for fallback server: {host}")
    if method and method.strip() not in METHODS:
        raise place.error(_METHOD_ERROR)
    line = FallbackLine(place, address, port_text, METHODS[method.strip() if method else "gate"])
    if port_text and all(
        to_port(port_text, protocol, place.source.port_of) is None for protocol in ("tcp", "udp")
    ):
        raise place.error("invalid port for fallback server")
    return line


def _addresses(first: str, last: str | None, place: Place) -> tuple[IPv4Address, ...]:
    start = place.source.resolve(first)
    if start is None:
        raise place.error(f"invalid address ({first}) for real server (could not resolve host)")
    if last is None:
        return (start,)
    end = place.source.resolve(last)
    if end is None:
        raise place.error(f"invalid address ({last}) for real server (could not resolve end host)")
    if end < start:
        raise place.error(
            f"Invalid Range: {first}-{last}: "
            "First value must be greater than or equal to the second value"  # sic
        )
    if int(end) - int(start) >= MAX_RANGE:
        raise place.error(f"the range {first}->{last} holds more than {MAX_RANGE} addresses")
    return tuple(IPv4Address(n) for n in range(int(start), int(end) + 1))


def _method(rest: str, place: Place) -> tuple[ForwardingMethod, str]:
    word = re.match(r"[A-Za-z0-9_]*", rest)
    name = word[0] if word else ""
    if name not in METHODS:
        hint = f'"{name.lower()}" is written in lower case' if name.lower() in METHODS else ""
        raise place.error(_METHOD_ERROR, hint)
    return METHODS[name], rest[len(name) :]


def _weight(rest: str, place: Place) -> tuple[int, str]:
    """The first blank followed by digits, wherever it stands; what is before it is dropped."""
    match = re.search(r"\s([0-9]+)", rest)
    if match is None:
        return 1, rest
    dropped = rest[: match.start()].strip()
    if dropped:
        place.warn(f"'{dropped}' before the weight {match[1]} means nothing and is ignored")
    weight = int(match[1][:10])
    if weight > MAX_WEIGHT:
        raise place.error(f"weight {match[1]} is more than {MAX_WEIGHT}")
    return weight, rest[match.end() :]


def _threshold(letter: str, rest: str, place: Place) -> tuple[int, str]:
    """The first `l:5` (or u:); what is before it is dropped, so `u:9 l:5` loses its u:."""
    match = re.search(rf"\s{letter}:([0-9]+)", rest)
    if match is None:
        return 0, rest
    dropped = rest[: match.start()].strip()
    if dropped:
        place.warn(f"'{dropped}' before {match[0].strip()} means nothing and is ignored")
    threshold = int(match[1][:11])
    if threshold > MAX_THRESHOLD:
        raise place.error(f"threshold {match[0].strip()} is more than {MAX_THRESHOLD}")
    return threshold, rest[match.end() :]


def _request_receive(rest: str, place: Place) -> tuple[str | None, str | None, str]:
    match = _REQUEST_RECEIVE.match(rest)
    if match is None:
        return None, None, rest
    request, receive, rest = match.groups()
    if re.match(r"[lu]:[0-9]", request):
        place.warn(
            f'"{request}" "{receive}" is a request and an answer, not a pair of thresholds: '
            "thresholds stand without quotes"
        )
    if re.match(r"https?://", request):
        raise place.not_yet("a request that is a whole URL")
    return (
        with_slash(request) if request else None,
        checked_regex(receive, place) if receive else None,
        rest,
    )
