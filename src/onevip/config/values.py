"""How the value of a directive is read: yes or no, a number, a word, a quoted text.

Each reader takes the value as written and its place, and raises ConfigError in ldirectord's words
(spec ldirectord §3.3). What single directives mean is in `readers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar

from onevip.config.place import Place
from onevip.model import Secret

T = TypeVar("T")
Read = Callable[[str, Place], T]

_QUOTED = re.compile(r'"(.*)"')
#: More digits than any limit has; the rest would only cost time.
_DIGITS = 10


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "scheduler"?`, or nothing when nothing is near."""
    near = get_close_matches(word, sorted(known), n=1)
    return f'did you mean "{near[0]}"?' if near else ""


def yes_no(name: str) -> Read[bool]:
    """Exactly yes or no: trailing blanks and comments are part of the value, as in ldirectord."""

    def read(value: str, place: Place) -> bool:
        if value in ("yes", "no"):
            return value == "yes"
        if value.endswith("\r") and value.rstrip() in ("yes", "no"):
            hint = "the line ends with a carriage return: save the file with Unix line ends"
        elif value[:2] in ("ye", "no"):
            hint = "nothing may follow the word, not even a blank"
        else:
            hint = did_you_mean(value.strip('" ').lower(), ("yes", "no"))
        raise place.error(f"{name} must be 'yes' or 'no'", hint)

    return read


def first_number(value: str) -> int | None:
    """The first run of digits, wherever it stands: "3s" is 3, "x10y" is 10."""
    digits = re.search(r"[0-9]+", value)
    return int(digits[0][:_DIGITS]) if digits else None


def positive(error: str) -> Read[int]:
    """The first number of the value; not 0."""

    def read(value: str, place: Place) -> int:
        number = first_number(value)
        if not number:
            raise place.error(error)
        return number

    return read


def at_the_start(error: str) -> Read[int]:
    """The number with which the value begins; 0 is one."""

    def read(value: str, place: Place) -> int:
        digits = re.match(r"[0-9]+", value)
        if digits is None:
            raise place.error(error)
        return int(digits[0][:_DIGITS])

    return read


def quoted(error: str = "") -> Read[str]:
    """Text in double quotes, from the first to the last one; not empty if there is an error."""

    def read(value: str, place: Place) -> str:
        match = _QUOTED.match(value)
        if match is None:
            cut = place.in_section and "#" in place.line.raw
            raise place.unknown(
                "a # begins a comment, inside quotes too" if cut else "quote the value"
            )
        if error and not match[1]:
            raise place.error(error)
        return match[1]

    return read


def secret(error: str) -> Read[Secret]:
    """A quoted text that nobody is shown."""
    read_text = quoted(error)
    return lambda value, place: Secret(read_text(value, place))


def quoted_or_bare(error: str = "") -> Read[str]:
    """The text in double quotes, or the rest of the line without trailing blanks."""

    def read(value: str, place: Place) -> str:
        match = _QUOTED.match(value)
        text = match[1] if match else value.rstrip()
        if error and not (match[1] if match else value):
            raise place.error(error)
        return text

    return read


def rest_of_line(error: str = "") -> Read[str]:
    """Everything, quotes too; trailing blanks mean nothing to anybody."""

    def read(value: str, place: Place) -> str:
        if error and not value:
            raise place.error(error)
        return value.rstrip()

    return read


def one_of(pattern: str, known: tuple[str, ...], error: str) -> Read[str]:
    """The first run of characters that fits the pattern, if it is known."""
    run = re.compile(pattern)

    def read(value: str, place: Place) -> str:
        match = run.search(value)
        word = match[0] if match else ""
        if word not in known:
            raise place.error(error, did_you_mean(word.lower(), known), at=word)
        return word

    return read
