"""The table of directives: which are known where, and how their values are read.

docs/ldirectord.cf.md says the same to people; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, cast

from onevip.config import fallbacks, readers, reporting, servers, values
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


def _everywhere(name: str, read: Read[T]) -> Directive[T]:
    return Directive(name, read, read)


def _worded(name: str, reader: Callable[[str], Read[T]], globally: str, own: str) -> Directive[T]:
    """One whose error has other words in a section."""
    return Directive(name, reader(globally), reader(own))


def _count(name: str, words: str) -> Directive[int]:
    return _worded(name, values.positive, f"invalid {words} value", f"invalid {words}")


def _switch(name: str) -> Directive[bool]:
    return _everywhere(name, values.yes_no(name))


def _deprecated_count(error: str) -> Read[int]:
    return partial(readers.checkcount, error)


CHECKTIMEOUT = _count("checktimeout", "check timeout")
NEGOTIATETIMEOUT = _count("negotiatetimeout", "negotiate timeout")
CHECKINTERVAL = _worded(
    "checkinterval", values.positive, "invalid check interval value", "invalid checkinterval"
)
CHECKCOUNT = _worded(
    "checkcount", _deprecated_count, "invalid check count value", "invalid check count"
)
FAILURECOUNT = _count("failurecount", "failure count")
RISECOUNT = _everywhere("risecount", values.positive("invalid rise count"))
CHECKJITTER = _everywhere("checkjitter", readers.checkjitter)
CHECKPATH = _everywhere("checkpath", readers.checkpath)
TLSVERIFY = _everywhere("tlsverify", readers.tlsverify)
TLSCAFILE = _everywhere("tlscafile", values.quoted("no CA file specified"))
QUIESCENT = _switch("quiescent")
CLEANSTOP = _switch("cleanstop")
FALLBACK = Directive("fallback", fallbacks.global_fallback(4), fallbacks.fallback)
FALLBACK6 = Directive("fallback6", fallbacks.global_fallback(6), fallbacks.fallback)
FALLBACKCOMMAND = Directive(
    "fallbackcommand",
    values.rest_of_line("invalid fallback command"),
    values.quoted_or_bare("invalid fallback command"),
)
EMAILALERT = _everywhere("emailalert", reporting.email_alert)
EMAILALERTFREQ = _everywhere("emailalertfreq", values.at_the_start("invalid email alert frequency"))
EMAILALERTSTATUS = _everywhere("emailalertstatus", reporting.email_phases)
SMTP = _everywhere("smtp", reporting.smtp)

AUTORELOAD = Directive("autoreload", globally=values.yes_no("autoreload"))
CALLBACK = Directive("callback", globally=values.quoted())
EMAILALERTFROM = Directive(
    "emailalertfrom", globally=values.rest_of_line("no email from address specified")
)
EXECUTE = Directive("execute", globally=values.rest_of_line())
FORK = Directive("fork", globally=values.yes_no("fork"))
LOGFILE = Directive("logfile", globally=reporting.logfile)
MAINTENANCEDIR = Directive("maintenancedir", globally=reporting.maintenancedir)
READDQUIESCENT = Directive("readdquiescent", globally=values.yes_no("readdquiescent"))
SUPERVISED = Directive("supervised", globally=values.yes_no("supervised"))

REAL = Directive("real", in_section=servers.real)
REAL6 = Directive("real6", in_section=servers.real)
CHECKCOMMAND = Directive("checkcommand", in_section=values.quoted_or_bare("invalid check command"))
CHECKPORT = Directive("checkport", in_section=readers.checkport)
CHECKTYPE = Directive("checktype", in_section=readers.checktype)
COMMENT = Directive("comment", in_section=values.rest_of_line())
DATABASE = Directive("database", in_section=values.quoted("invalid database"))
HTTPMETHOD = Directive("httpmethod", in_section=readers.http_method)
LOAD = Directive("load", in_section=readers.load)
LOGIN = Directive("login", in_section=values.quoted("invalid login string"))
MONITORFILE = Directive("monitorfile", in_section=reporting.monitorfile)
NETMASK = Directive("netmask", in_section=readers.netmask)
OPS = Directive("ops", in_section=values.yes_no("ops"))
PASSWD = Directive("passwd", in_section=values.secret("invalid password"))
PERSISTENT = Directive("persistent", in_section=readers.persistent)
PROTOCOL = Directive("protocol", in_section=readers.protocol)
RECEIVE = Directive("receive", in_section=readers.receive)
REQUEST = Directive("request", in_section=readers.request)
SCHEDFLAGS = Directive("schedflags", in_section=readers.scheduler_flags)
SCHEDULER = Directive("scheduler", in_section=readers.scheduler)
SECRET = Directive("secret", in_section=values.secret("invalid secret"))
SERVICE = Directive("service", in_section=readers.service)
SERVICENAME = Directive("servicename", in_section=values.rest_of_line())
VIRTUALHOST = Directive("virtualhost", in_section=readers.virtualhost)

DIRECTIVES: dict[str, Directive[object]] = {
    found.name: cast(Directive[object], found)
    for found in list(globals().values())
    if isinstance(found, Directive)
}
#: Those that ldirectord does not know.
NEW = frozenset(
    directive.name for directive in (RISECOUNT, CHECKJITTER, CHECKPATH, TLSVERIFY, TLSCAFILE)
)
#: The heads of sections are read by `lines` and `head`.
HEADS = ("virtual", "virtual6")
DEPRECATED_TIMEOUT = "timeout directive deprecated in favour of checktimeout and negotiatetimeout"
DEPRECATED_CONNECTTIMEOUT = "connecttimeout directive deprecated in favour of negotiatetimeout"
