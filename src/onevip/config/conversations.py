"""What a conversation with a real server needs to know: the fields of Check that its service reads,
and no others."""

from __future__ import annotations

from typing import Any

from onevip.config import directives as d
from onevip.config import perl_regex
from onevip.config.given import Given
from onevip.config.servers import RealLine
from onevip.model import Protocol, Secret, ServiceKey, Tls, Verify

_HTTP = ("request", "receive", "virtualhost", "http_method")
_LDAP = ("request", "receive", "login", "passwd")
_SQL = ("login", "passwd", "database", "request")
_TLS = ("tls", "virtualhost")
#: What a conversation in this protocol needs to know.
_FIELDS: dict[str, tuple[str, ...]] = {
    "dns": ("request", "receive", "protocol"),
    "ftp": ("request", "receive", "login", "passwd"),
    "http": _HTTP,
    "http_proxy": _HTTP,
    "https": (*_HTTP, "tls"),
    "imap": ("login", "passwd"),
    "imaps": ("login", "passwd", *_TLS),
    "ldap": _LDAP,
    "ldaps": (*_LDAP, *_TLS),
    "mysql": _SQL,
    "nntp": (),
    "none": (),
    "oracle": _SQL,
    "pgsql": _SQL,
    "pop": ("login", "passwd"),
    "pops": ("login", "passwd", *_TLS),
    "radius": ("login", "passwd", "secret"),
    "simpletcp": ("request", "receive", "protocol"),
    "sip": ("login", "protocol"),
    "smtp": (),
    "submission": (),
}


def conversation(service: str, given: Given, key: ServiceKey, line: RealLine) -> dict[str, Any]:
    """The fields of Check that a probe of this service reads."""
    values: dict[str, Any] = {
        "request": _url_or_path(service, line, given),
        "receive": perl_regex.translated(receive(line, given)),
        "virtualhost": given.get(d.VIRTUALHOST) or "",
        "http_method": given.get(d.HTTPMETHOD) or "GET",
        "protocol": Protocol.UDP if key.protocol is Protocol.UDP else Protocol.TCP,
        "login": login(given),
        "passwd": passwd(given),
        "database": given.get(d.DATABASE) or "",
        "secret": given.get(d.SECRET) or Secret(""),
        "tls": Tls(given.either(d.TLSVERIFY) or Verify.CHAIN, given.either(d.TLSCAFILE) or ""),
    }
    return {name: values[name] for name in _FIELDS[service]}


def _url_or_path(service: str, line: RealLine, given: Given) -> str:
    """A real line's request may be a whole URL; then it has no slash in front."""
    path = request(line, given)
    is_url = line.request is not None and path.startswith(f"/{service}://")
    return path[1:] if is_url else path


def login(given: Given) -> str:
    """With its default, which only a `service=` line gives (spec ldirectord §3.3)."""
    if explicit := given.get(d.LOGIN):
        return explicit
    named = next((name for name in given.services if name in ("ftp", "sip")), "")
    return {"ftp": "anonymous", "sip": _as_ldirectord(given)}.get(named, "")


def passwd(given: Given) -> Secret:
    """Likewise."""
    explicit = given.get(d.PASSWD)
    return explicit or Secret(_as_ldirectord(given) if "ftp" in given.services else "")


def request(line: RealLine, given: Given) -> str:
    return given.get(d.REQUEST) or "/" if line.request is None else line.request


def receive(line: RealLine, given: Given) -> str:
    return given.get(d.RECEIVE) or "" if line.receive is None else line.receive


def _as_ldirectord(given: Given) -> str:
    place = given.place(d.SERVICE)
    return f"ldirectord@{place.source.world.own_name()}" if place else ""
