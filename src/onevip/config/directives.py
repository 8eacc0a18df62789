"""The table of directives: which are known where, how their values are read, which must wait.

Nothing known to ldirectord is unknown here: what is not supported yet is refused by its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from onevip.config import servers, values
from onevip.config.names import SERVICES, SERVICES_NOT_YET
from onevip.config.place import Place
from onevip.config.servers import RealLine
from onevip.config.values import Read

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Directive(Generic[T]):
    """A name, and the readers of its value as a global line and inside a section."""

    name: str
    globally: Read[T] | None = None
    in_section: Read[T] | None = None

    def reader(self, in_section: bool) -> Read[T] | None:
        return self.in_section if in_section else self.globally


def _seconds(name: str, words: str) -> Directive[int]:
    return Directive(
        name, values.positive(f"invalid {words} value"), values.positive(f"invalid {words}")
    )


def _switch(name: str) -> Directive[bool]:
    return Directive(name, values.yes_no(name), values.yes_no(name))


def _service(value: str, place: Place) -> str:
    return values.one_of(
        "service must be dns, ftp, http, https, http_proxy, imap, imaps, ldap, ldaps, mysql, nntp, "
        "none, oracle, pop, pops, radius, pgsql, simpletcp, sip, smtp or submission",
        known=(*SERVICES, *SERVICES_NOT_YET),  # refused later, and only if the check would use it
        not_yet=(),
        what="service",
    )(value, place)


def _protocol(value: str, place: Place) -> str:
    if not re.search(r"[A-Za-z0-9_]", value):
        raise place.error("invalid protocol")
    if place.of_mark:
        return values.one_of(
            "protocol must be fwm if the virtual service is a fwmark (a number)",
            known=("fwm",),
            not_yet=(),
            what="protocol",
        )(value, place)
    return values.one_of(
        "protocol must be tcp or udp if the virtual service is an address and port",
        known=("tcp", "udp"),
        not_yet=(),
        what="protocol",
    )(value, place)


CHECKTIMEOUT = _seconds("checktimeout", "check timeout")
NEGOTIATETIMEOUT = _seconds("negotiatetimeout", "negotiate timeout")
CHECKINTERVAL = _seconds("checkinterval", "check interval")
FAILURECOUNT = _seconds("failurecount", "failure count")
AUTORELOAD = Directive("autoreload", globally=values.yes_no("autoreload"))
QUIESCENT = _switch("quiescent")
CLEANSTOP = _switch("cleanstop")
FALLBACK = Directive("fallback", servers.fallback, servers.fallback)
REAL = Directive("real", in_section=servers.real)
SERVICE = Directive("service", in_section=_service)
CHECKTYPE = Directive("checktype", in_section=values.checktype)
CHECKPORT = Directive("checkport", in_section=values.checkport)
REQUEST = Directive("request", in_section=values.request)
RECEIVE = Directive("receive", in_section=values.receive)
VIRTUALHOST = Directive("virtualhost", in_section=values.quoted_or_bare)
HTTPMETHOD = Directive("httpmethod", in_section=values.http_method)
PROTOCOL = Directive("protocol", in_section=_protocol)
SCHEDULER = Directive("scheduler", in_section=values.scheduler)
SCHEDFLAGS = Directive("schedflags", in_section=values.scheduler_flags)
PERSISTENT = Directive("persistent", in_section=values.persistent)
NETMASK = Directive("netmask", in_section=values.netmask)
OPS = Directive("ops", in_section=values.yes_no("ops"))

DIRECTIVES: dict[str, Directive[object]] = {
    directive.name: cast(Directive[object], directive)
    for directive in (
        CHECKTIMEOUT,
        NEGOTIATETIMEOUT,
        CHECKINTERVAL,
        FAILURECOUNT,
        AUTORELOAD,
        QUIESCENT,
        CLEANSTOP,
        FALLBACK,
        REAL,
        SERVICE,
        CHECKTYPE,
        CHECKPORT,
        REQUEST,
        RECEIVE,
        VIRTUALHOST,
        HTTPMETHOD,
        PROTOCOL,
        SCHEDULER,
        SCHEDFLAGS,
        PERSISTENT,
        NETMASK,
        OPS,
    )
}

_NOT_YET_EVERYWHERE = (
    "checkcount",
    "fallbackcommand",
    "emailalert",
    "emailalertfreq",
    "emailalertstatus",
    "smtp",
)
NOT_YET_GLOBALLY = frozenset(
    (
        *_NOT_YET_EVERYWHERE,
        "virtual6",
        "fallback6",
        "callback",
        "logfile",
        "execute",
        "supervised",
        "fork",
        "readdquiescent",
        "maintenancedir",
        "emailalertfrom",
    )
)
NOT_YET_IN_SECTION = frozenset(
    (
        *_NOT_YET_EVERYWHERE,
        "checkcommand",
        "login",
        "passwd",
        "database",
        "secret",
        "load",
        "monitorfile",
        "servicename",
        "comment",
    )
)
DEPRECATED = {
    "timeout": "timeout directive deprecated in favour of checktimeout and negotiatetimeout",
    "connecttimeout": "connecttimeout directive deprecated in favour of negotiatetimeout",
}
#: Names of the other family; a `virtual=` section is IPv4.
OTHER_FAMILY = {
    "real6": 'cannot specify "real6" here.  please use "real" instead',
    "fallback6": 'cannot specify "fallback6" here.  please use "fallback" instead',
}


class Given:
    """The values that the global lines, or one section, give. A repeated directive: last wins."""

    def __init__(self, outer: Given | None = None) -> None:
        self.outer = outer  # the global ones, when these are a section's
        self._values: dict[str, tuple[object, Place]] = {}
        self.real_lines: list[RealLine] = []

    def get(self, directive: Directive[T]) -> T | None:
        found = self._values.get(directive.name)
        return None if found is None else cast(T, found[0])

    def either(self, directive: Directive[T]) -> T | None:
        """The section's value, else the global one."""
        found = self.get(directive)
        return self.outer.get(directive) if found is None and self.outer else found

    def place(self, directive: Directive[T]) -> Place | None:
        """Where the value in force stands, None when none is given."""
        found = self._values.get(directive.name)
        return None if found is None else found[1]

    def take(self, place: Place) -> None:
        """Read one line into this. Raises ConfigError."""
        parts = place.line.directive()
        if parts is None:
            if not place.in_section and place.line.text.strip() == "supervised":
                raise place.not_yet("directive 'supervised'")
            raise place.unknown(_stray_hint(place))
        name, value = parts
        directive = DIRECTIVES.get(name)
        read = directive.reader(place.in_section) if directive else None
        if read is None:
            raise _refusal(name, place)
        result = read(value, place)
        if isinstance(result, RealLine):
            self.real_lines.append(result)
        else:
            self._values[name] = (result, place)


def _refusal(name: str, place: Place) -> Exception:
    if name in DEPRECATED:
        return place.error(DEPRECATED[name])
    if place.in_section and name in OTHER_FAMILY:
        return place.error(OTHER_FAMILY[name])
    here, elsewhere = NOT_YET_GLOBALLY, NOT_YET_IN_SECTION
    if place.in_section:
        here, elsewhere = elsewhere, here
    if name in here:
        return place.not_yet(f"directive '{name}'")
    if name in DIRECTIVES or name in elsewhere or name in OTHER_FAMILY:
        return place.unknown(
            f"'{name}' is a global directive: it stands in the first column, outside a section"
            if place.in_section
            else f"'{name}' belongs into a section: indent it by 4 blanks or a tab, with no empty "
            "line between it and its virtual line"
        )
    known = {n for n, d in DIRECTIVES.items() if d.reader(place.in_section)} | here
    return place.unknown(values.did_you_mean(name, known))


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
    return ""
