"""The grammar of `real=` (spec ldirectord §3.2). Looks names up; decides nothing
about the service in which the line stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from onevip.config.fallbacks import METHOD_ERROR, METHODS, PORT, resolved
from onevip.config.names import Address, to_port
from onevip.config.place import Place
from onevip.config.readers import checked_regex, with_slash
from onevip.config.values import did_you_mean
from onevip.model import ForwardingMethod

_WRONG_FORMAT = "invalid address for real server (wrong format)"
MAX_WEIGHT = 65535  # ipvsadm's limit (spec ipvs §4.0)
MAX_THRESHOLD = 2**31 - 1
MAX_RANGE = 65536

# Not anchored: ldirectord takes the first thing in the line that fits.
_HOST = r"[A-Za-z0-9.-]+|\[[0-9A-fa-f:]+\]"  # A-f: sic, it lets brackets in
_REAL = re.compile(rf"({_HOST})(?:->({_HOST}))?(?::({PORT}))?\s+(.*)", re.ASCII)
_METHOD = re.compile(r"([A-Za-z0-9_]+)(.*)")
_WEIGHT = re.compile(r"\s+([0-9]+)(.*)", re.ASCII)
_REQUEST_RECEIVE = re.compile(r'\s+"(.*)"[, ]\s*"(.*)"(.*)', re.ASCII)


@dataclass(frozen=True, slots=True)
class RealLine:
    """A `real=` line: one real server, or a range of them. Port 0: none was given."""

    place: Place
    addresses: tuple[Address, ...]
    host: str  # as written, "" when that is an address or a range
    port: int
    method: ForwardingMethod
    weight: int
    request: str | None
    receive: str | None
    upper_threshold: int
    lower_threshold: int


def real(value: str, place: Place) -> RealLine:
    """`<host>[-><host>][:<port>] <gate|masq|ipip> [weight] ["request", "receive"] [l:n] [u:n]`."""
    match = _REAL.search(value)
    if match is None:
        hint = "it is followed by gate, masq or ipip, as in real=192.0.2.1:80 gate"
        raise place.error(_WRONG_FORMAT, hint)
    first, last, port_text, rest = match.groups()
    if match.start() > 0:
        place.warn(
            f"'{value[: match.start()]}' before {match[0].split()[0]} means nothing and is ignored"
        )
    start = _address(first, place, "host")
    port = to_port(port_text or "0", None, place.source.world.port_of)
    if port is None:
        raise place.error(
            f"invalid port ({port_text}) for real server (could not resolve port)", at=port_text
        )
    addresses = (start,) if last is None else _range(start, last, place)
    method, rest = _method(rest, place)
    weight, rest = _weight(rest, place)
    request, receive, rest = _request_receive(rest, place)
    lower, rest = _threshold("l", rest, place)
    upper, rest = _threshold("u", rest, place)
    if rest.strip(" \t\n\r\f\v"):
        raise place.error(f'Invalid real server line, around "{rest}"', at=rest.strip())
    if lower > upper:
        raise place.refusal(
            f"lower threshold l:{lower} is above the upper one, u:{upper}",
            "l: stands before u:, without quotes",
            at=f"l:{lower}",
        )
    if receive is not None:
        checked_regex(receive, place)
    host = first if last is None and not _is_address(first) else ""
    return RealLine(place, addresses, host, port, method, weight, request, receive, upper, lower)


def _address(host: str, place: Place, what: str) -> Address:
    address = resolved(host, place.version, place)
    if address is None:
        raise place.error(
            f"invalid address ({host}) for real server (could not resolve {what})", at=host
        )
    return address


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _range(start: Address, last: str, place: Place) -> tuple[Address, ...]:
    end = _address(last, place, "end host")
    if isinstance(start, IPv4Address) and isinstance(end, IPv4Address):
        return tuple(_each(start, end, place))
    raise place.error("Address range for IPv6 is not supported yet", at="->")


def _each(start: IPv4Address, end: IPv4Address, place: Place) -> Iterator[IPv4Address]:
    if end < start:
        raise place.error(
            f"Invalid Range: {start}-{end}: "
            "First value must be greater than or equal to the second value"  # sic
        )
    if int(end) - int(start) >= MAX_RANGE:
        raise place.refusal(f"the range {start}->{end} holds more than {MAX_RANGE} addresses")
    return (IPv4Address(number) for number in range(int(start), int(end) + 1))


def _method(rest: str, place: Place) -> tuple[ForwardingMethod, str]:
    """The first word after the address."""
    word = _METHOD.search(rest)
    name, after = (word[1], word[2]) if word else ("", "")
    if name not in METHODS:
        hint = f'"{name.lower()}" is written in lower case' if name.lower() in METHODS else ""
        raise place.error(METHOD_ERROR, hint or did_you_mean(name, METHODS), at=name)
    return METHODS[name], after


def _weight(rest: str, place: Place) -> tuple[int, str]:
    """The first blank followed by digits, wherever it stands; what is before it is dropped."""
    match = _WEIGHT.search(rest)
    if match is None:
        return 1, rest
    _tell_dropped(rest[: match.start()], f"the weight {match[1]}", place)
    weight = int(match[1][:10])
    if weight > MAX_WEIGHT:
        raise place.refusal(f"weight {match[1]} is more than {MAX_WEIGHT}", at=match[1])
    return weight, match[2]


def _threshold(letter: str, rest: str, place: Place) -> tuple[int, str]:
    """The first `l:5` (or u:); what is before it is dropped, so `u:9 l:5` loses its u:."""
    match = re.search(rf"\s{letter}:([0-9]+)", rest, re.ASCII)
    if match is None:
        return 0, rest
    _tell_dropped(rest[: match.start()], match[0].strip(), place)
    threshold = int(match[1][:11])
    if threshold > MAX_THRESHOLD:
        raise place.refusal(
            f"threshold {match[0].strip()} is more than {MAX_THRESHOLD}", at=match[1]
        )
    return threshold, rest[match.end() :]


def _request_receive(rest: str, place: Place) -> tuple[str | None, str | None, str]:
    match = _REQUEST_RECEIVE.search(rest)
    if match is None:
        return None, None, rest
    request, receive, after = match.groups()
    _tell_dropped(rest[: match.start()], f'"{request}"', place)
    if re.match(r"[lu]:[0-9]", request):
        place.warn(
            f'"{request}" "{receive}" is a request and an answer, not a pair of thresholds: '
            "thresholds stand without quotes",
            at=f'"{request}"',
        )
    return with_slash(request), receive, after


def _tell_dropped(text: str, before: str, place: Place) -> None:
    if text.strip():
        place.warn(
            f"'{text.strip()}' before {before} means nothing and is ignored", at=text.strip()
        )
