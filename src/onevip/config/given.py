"""What the global lines, or one section, give: reads line after line by the table of directives."""

from __future__ import annotations

import re
from typing import TypeVar, cast

from onevip.config import directives as d
from onevip.config import values
from onevip.config.directives import DIRECTIVES, HEADS, Directive
from onevip.config.place import Place
from onevip.model import ConfigError

T = TypeVar("T")

_SUPERVISED = re.compile(r"supervised(?:\s*=\s*(.*)|\s*$)?", re.ASCII)


class Given:
    """Values by directive. A repeated directive: the last wins, but real= and execute= add up."""

    def __init__(self, outer: Given | None = None) -> None:
        self.outer = outer  # the global ones, when these are a section's
        self._values: dict[str, tuple[object, Place]] = {}
        #: `real=` lines, and which services were named: their order matters.
        self.reals: list[tuple[str, Place]] = []
        self.services: list[str] = []
        self.children: dict[str, None] = {}

    def get(self, directive: Directive[T]) -> T | None:
        found = self._values.get(directive.name)
        return None if found is None else cast(T, found[0])

    def either(self, directive: Directive[T]) -> T | None:
        """The section's value, else the global one."""
        found = self.get(directive)
        return self.outer.get(directive) if found is None and self.outer else found

    def place(self, directive: Directive[T]) -> Place | None:
        """Where the value in force stands in this section; None when none is given."""
        found = self._values.get(directive.name)
        return None if found is None else found[1]

    def nearest_place(self, directive: Directive[T]) -> Place | None:
        """Likewise, or where the global one stands."""
        return self.place(directive) or (self.outer.place(directive) if self.outer else None)

    def take(self, place: Place) -> None:
        """Read one line into this. Raises ConfigError."""
        if not place.in_section and place.line.text.startswith("supervised"):
            self._values["supervised"] = (_supervised(place), place)
            return
        parts = place.line.directive()
        if parts is None:
            raise place.unknown(_stray_hint(place))
        name, value = parts
        if place.in_section and name in _OF_FAMILY:
            _check_family(name, place)
        if name in ("real", "real6") and place.in_section:
            self.reals.append((value, place))  # names are looked up after the whole section
            return
        directive = DIRECTIVES.get(name)
        read = directive.reader(place.in_section) if directive else None
        if read is None:
            raise _refusal(name, place)
        result = read(value, place)
        if name == "service":
            self.services.append(str(result))
        if name == "execute":
            self.children[str(result)] = None
        self._values[name] = (result, place)


_OF_FAMILY = {"real": 4, "real6": 6, "fallback": 4, "fallback6": 6}


def _check_family(name: str, place: Place) -> None:
    if _OF_FAMILY[name] != place.version:
        other = name.rstrip("6") + ("6" if place.version == 6 else "")
        raise place.error(f'cannot specify "{name}" here.  please use "{other}" instead')


def _supervised(place: Place) -> bool:
    """`supervised` alone is yes; what only begins so is refused as if it were this directive."""
    match = _SUPERVISED.fullmatch(place.line.text)
    if match is None:
        raise place.error("supervised must be 'yes' or 'no'")
    if match[1] is not None:
        return values.yes_no("supervised")(match[1], place)
    if place.line.text.strip() != "supervised":
        raise place.error("supervised must be 'yes' or 'no'")
    place.warn("please update your config not to use a bare supervised directive", ours=False)
    return True


def _refusal(name: str, place: Place) -> ConfigError:
    if name == "timeout" and not place.in_section:
        return place.error(d.DEPRECATED_TIMEOUT)
    if name == "connecttimeout":
        return place.error(d.DEPRECATED_CONNECTTIMEOUT)
    if name in DIRECTIVES:
        return place.unknown(
            f"'{name}' is a global directive: it stands in the first column, outside a section"
            if place.in_section
            else f"'{name}' belongs into a section: indent it by 4 blanks or a tab, with no empty "
            "line between it and its virtual line"
        )
    known = {n for n, found in DIRECTIVES.items() if found.reader(place.in_section)}
    return place.unknown(values.did_you_mean(name.lower(), known | set(HEADS)))


def _stray_hint(place: Place) -> str:
    text = place.line.text
    if place.in_section and not text.strip():
        return "the line holds only blanks: empty it"
    if text.startswith("\ufeff"):
        return "the file begins with a byte order mark: save it without one"
    if not place.in_section and text[:1] in (" ", "\t"):
        return (
            "a line of a section is indented by 4 blanks or a tab and follows its virtual line "
            "without an empty line between; a global line is not indented"
        )
    word = re.match(r"[A-Za-z0-9_-]+", text)
    if word and word[0].lower() in DIRECTIVES:
        return f"a value follows {word[0].lower()} after an equals sign"
    return ""
