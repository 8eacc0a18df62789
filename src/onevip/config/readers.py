"""What single directives mean, where `values` has no common way of reading them."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address

from onevip.config import perl_regex
from onevip.config.names import SERVICES, Address
from onevip.config.place import Place
from onevip.config.values import did_you_mean, first_number, one_of, quoted
from onevip.model import CheckType, Verify
from onevip.model.service import LONGEST_TIMEOUT_S, SCHEDULERS

_DOTTED_QUAD = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_MASK_DIGITS = 9  # enough to see that it is too long
_CHECKTYPES = ("connect", "negotiate", "ping", "off", "on", "external", "external-perl")

service = one_of(
    r"[A-Za-z0-9_]+",
    SERVICES,
    "service must be dns, ftp, http, https, http_proxy, imap, imaps, ldap, ldaps, mysql, nntp, "
    "none, oracle, pop, pops, radius, pgsql, simpletcp, sip, smtp or submission",
)
_checktype = one_of(
    r"[A-Za-z0-9_-]+",
    _CHECKTYPES,
    'checktype must be "connect", "negotiate", "on", "off", "ping", "external", "external-perl" '
    "or a positive number",
)
_tlsverify = one_of(
    r"\S+",
    tuple(verify.value for verify in Verify),
    "tlsverify must be 'none', 'chain' or 'name'",
)


def checktype(value: str, place: Place) -> tuple[CheckType, int]:
    """The type, and of a combined one the number of connects between two negotiations."""
    connects = first_number(value)
    if connects is not None:
        return CheckType.COMBINED, connects
    return CheckType(_checktype(value, place)), 0


def checkport(value: str, place: Place) -> int:
    port = first_number(value)
    if port is None:
        raise place.error("invalid port")
    if not 0 < port < 65536:
        raise place.error("checkport must be in range 1..65536")  # sic
    return port


def checkjitter(value: str, place: Place) -> int:
    """Per cent of the interval."""
    jitter = first_number(value)
    if jitter is None or jitter > 100:
        raise place.error("checkjitter must be in range 0..100", "it is a percentage")
    return jitter


def checkpath(value: str, place: Place) -> bool:
    """Whether the check travels to the VIP."""
    if value.strip() not in ("rip", "vip"):
        raise place.error("checkpath must be 'rip' or 'vip'")
    return value.strip() == "vip"


def tlsverify(value: str, place: Place) -> Verify:
    return Verify(_tlsverify(value, place))


def request(value: str, place: Place) -> str:
    return with_slash(quoted("no request string specified")(value, place))


def with_slash(path: str) -> str:
    return path if path.startswith("/") else "/" + path


def receive(value: str, place: Place) -> str:
    return checked_regex(quoted("invalid receive string")(value, place), place)


def checked_regex(pattern: str, place: Place) -> str:
    """The pattern as given; it must be one that `perl_regex` can translate."""
    try:
        perl_regex.translated(pattern)
    except perl_regex.NoRegex as error:
        raise place.refusal(f"receive is not a regular expression: {error}", at=pattern) from error
    return pattern


def load(value: str, place: Place) -> str:
    """Read and ignored, as ever."""
    text = quoted("invalid string for load testing")(value, place)
    if _WORD.search(text) is None:
        raise place.error("invalid string for load testing")
    return text


def virtualhost(value: str, _place: Place) -> str:
    match = re.match(r'"?([^"]*)', value)
    return match[1].rstrip() if match else ""


def http_method(value: str, place: Place) -> str:
    match = _WORD.search(value)
    method = match[0].upper() if match else ""
    if method not in ("GET", "HEAD"):
        raise place.error("httpmethod must be GET or HEAD")
    return method


def protocol(value: str, place: Place) -> str:
    match = _WORD.search(value)
    if match is None:
        raise place.error("invalid protocol")
    if place.of_mark and match[0] != "fwm":
        raise place.error("protocol must be fwm if the virtual service is a fwmark (a number)")
    if not place.of_mark and match[0] not in ("tcp", "udp"):
        raise place.error(
            "protocol must be tcp or udp if the virtual service is an address and port"
        )
    return match[0]


def scheduler(value: str, place: Place) -> str:
    """The first run of lower-case letters: `lc //must match` is lc."""
    match = re.search(r"[a-z]+", value)
    if match is None:
        raise place.error(
            "invalid scheduler, should be only lowercase letters (a-z)",
            did_you_mean(value.strip().lower(), SCHEDULERS),
        )
    if match[0] not in SCHEDULERS:
        raise place.refusal(
            f'unknown scheduler "{match[0]}"',
            did_you_mean(match[0], SCHEDULERS) or f"known are {', '.join(SCHEDULERS)}",
            at=match[0],
        )
    return match[0]


def scheduler_flags(value: str, place: Place) -> str:
    """The first run of characters that are no blanks."""
    match = re.search(r"\S+", value, re.ASCII)
    if match is None:
        raise place.error("invalid sched-flags")
    return match[0]


def persistent(value: str, place: Place) -> int:
    """Seconds: the first run of digits. ldirectord leaves the limits to ipvsadm, which refuses."""
    seconds = first_number(value)
    if seconds is None:
        raise place.error("invalid persistent timeout")
    if not 1 <= seconds <= LONGEST_TIMEOUT_S:
        raise place.refusal("invalid persistent timeout", f"give 1 to {LONGEST_TIMEOUT_S} seconds")
    return seconds


def netmask(value: str, place: Place) -> Address:
    """Of IPv4 four numbers and nothing else; read as inet_aton(3) does, so 255.255.255.000 is one
    too. Of IPv6 a prefix length."""
    if place.version == 6:
        if not re.fullmatch(r"[0-9]+", value) or not 1 <= int(value[:_MASK_DIGITS]) <= 128:
            raise place.error("invalid netmask: a prefix length between 1 and 128 is required")
        return IPv6Address((1 << 128) - (1 << (128 - int(value))))
    if not _DOTTED_QUAD.fullmatch(value):
        raise place.error("invalid netmask: dotted quad notation is required")
    try:
        return IPv4Address(socket.inet_aton(value))
    except OSError as error:
        raise place.refusal("invalid netmask: dotted quad notation is required") from error


def checkcount(error: str, value: str, place: Place) -> int:
    count = first_number(value)
    if not count:
        raise place.error(error)
    place.warn(
        "checkcount option is deprecated and slated for removal.  please see 'failurecount'",
        ours=False,
    )
    return count
