"""How the value of a directive is read: yes or no, a number, a word, a quoted text.

Each reader takes the value as written and its place, and raises ConfigError in ldirectord's words
(spec ldirectord §3.3).
"""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from ipaddress import IPv4Address
from typing import TypeVar

from onevip.config.place import Place
from onevip.model.service import LONGEST_TIMEOUT_S, SCHEDULERS

T = TypeVar("T")
Read = Callable[[str, Place], T]

_QUOTED = re.compile(r'"(.*)"')
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_DOTTED_QUAD = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "scheduler"?`, or nothing when nothing is near."""
    near = get_close_matches(word, sorted(known), n=1)
    return f'did you mean "{near[0]}"?' if near else ""


def yes_no(name: str) -> Read[bool]:
    """Exactly yes or no: trailing blanks and comments are part of the value, as in ldirectord."""

    def read(value: str, place: Place) -> bool:
        if value in ("yes", "no"):
            return value == "yes"
        hint = "nothing may follow the word" if value[:2] in ("ye", "no") else ""
        raise place.error(f"{name} must be 'yes' or 'no'", hint)

    return read


def positive(error: str) -> Read[int]:
    """The first run of digits, wherever it stands ("3s" is 3); not 0."""

    def read(value: str, place: Place) -> int:
        digits = re.search(r"[0-9]+", value)
        if digits is None or int(digits[0][:10]) == 0:
            raise place.error(error)
        return int(digits[0][:10])

    return read


def checkport(value: str, place: Place) -> int:
    digits = re.search(r"[0-9]+", value)
    if digits is None:
        raise place.error("invalid port")
    port = int(digits[0][:10])
    if not 0 < port < 65536:
        raise place.error("checkport must be in range 1..65536")  # sic
    return port


def quoted(error: str) -> Read[str]:
    """Text in double quotes, from the first to the last one; not empty."""

    def read(value: str, place: Place) -> str:
        match = _QUOTED.match(value)
        if match is None:
            cut = "#" in place.line.raw
            hint = "a # begins a comment, inside quotes too" if cut else "quote the value"
            raise place.unknown(hint)
        if not match[1]:
            raise place.error(error)
        return match[1]

    return read


def quoted_or_bare(value: str, _place: Place) -> str:
    """The text in double quotes, or the rest of the line without trailing blanks."""
    match = _QUOTED.match(value)
    return match[1] if match else value.rstrip()


def request(value: str, place: Place) -> str:
    return with_slash(quoted("no request string specified")(value, place))


def with_slash(path: str) -> str:
    return path if path.startswith("/") else "/" + path


def receive(value: str, place: Place) -> str:
    return checked_regex(quoted("invalid receive string")(value, place), place)


def checked_regex(pattern: str, place: Place) -> str:
    """The pattern as given. It must compile over bytes, as bodies are matched raw."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set" is fine in a Perl pattern
            re.compile(pattern.encode("utf-8", "surrogateescape"))
    except (re.error, OverflowError, RecursionError) as error:
        raise place.error(f"receive is not a regular expression: {error}") from error
    return pattern


def one_of(error: str, known: tuple[str, ...], not_yet: tuple[str, ...], what: str) -> Read[str]:
    """The first word of the value, if it is known."""

    def read(value: str, place: Place) -> str:
        match = _WORD.search(value)
        word = match[0] if match else ""
        if word in not_yet:
            raise place.not_yet(f"{what} '{word}'")
        if word not in known:
            raise place.error(error, did_you_mean(word, known))
        return word

    return read


def checktype(value: str, place: Place) -> str:
    if re.search(r"[0-9]", value):
        raise place.not_yet("checktype with a number (connect and negotiate combined)")
    return one_of(
        'checktype must be "connect", "negotiate", "on", "off", "ping", "external", '
        '"external-perl" or a positive number',
        known=("connect", "negotiate", "on", "off"),
        not_yet=("ping", "external", "external-perl"),
        what="checktype",
    )(value, place)


def persistent(value: str, place: Place) -> int:
    """Seconds: the first run of digits. ldirectord leaves the limits to ipvsadm, which refuses."""
    digits = re.search(r"[0-9]+", value)
    if digits is None:
        raise place.error("invalid persistent timeout")
    seconds = int(digits[0][:10])
    if not 1 <= seconds <= LONGEST_TIMEOUT_S:
        raise place.error("invalid persistent timeout", f"give 1 to {LONGEST_TIMEOUT_S} seconds")
    return seconds


def netmask(value: str, place: Place) -> IPv4Address:
    """Four numbers and nothing else; read as inet_aton(3) does, so 255.255.255.000 is one too."""
    try:
        if _DOTTED_QUAD.fullmatch(value):
            return IPv4Address(socket.inet_aton(value))
    except OSError:
        pass
    raise place.error("invalid netmask: dotted quad notation is required")


def scheduler_flags(value: str, place: Place) -> str:
    """The first run of characters that are no blanks."""
    match = re.search(r"\S+", value)
    if match is None:
        raise place.error("invalid schedflags")
    return match[0]


def http_method(value: str, place: Place) -> str:
    match = _WORD.search(value)
    method = match[0].upper() if match else ""
    if method not in ("GET", "HEAD"):
        raise place.error("httpmethod must be GET or HEAD")
    return method


def scheduler(value: str, place: Place) -> str:
    """The first run of lower-case letters: `lc //must match` is lc."""
    match = re.search(r"[a-z]+", value)
    if match is None:
        raise place.error("invalid scheduler, should be only lowercase letters (a-z)")
    if match[0] not in SCHEDULERS:
        raise place.error(
            f'unknown scheduler "{match[0]}"',
            did_you_mean(match[0], SCHEDULERS) or f"known are {', '.join(SCHEDULERS)}",
        )
    return match[0]
