"""How the values of directives about mails, logs and files are read."""

from __future__ import annotations

import re

from onevip.config.place import Place
from onevip.config.values import did_you_mean, quoted
from onevip.model import Phase

_COMMAS = re.compile(r"\s*,\s*", re.ASCII)


def email_alert(value: str, place: Place) -> str:
    """One address or several, without the quotes around them."""
    address = re.sub(r'^"([^"]*)"$', r"\1", value)
    if not address:
        raise place.error("no email address specified")
    return address


def email_phases(value: str, place: Place) -> frozenset[Phase]:
    """A list with commas; "none", and an empty one, are no phase at all."""
    words = _COMMAS.split(value)
    while words and not words[-1]:
        words.pop()
    phases: set[Phase] = set()
    for word in words:
        if word == "none":
            continue
        if word == "all":
            phases.update(Phase)
        elif any(word == phase.value for phase in Phase):
            phases.add(Phase(word))
        else:
            hint = did_you_mean(word.strip(), ("all", "none", *(p.value for p in Phase)))
            raise place.error(f'invalid email alert status at: "{word}"', hint, at=word)
        if "none" in words:
            raise place.error(
                f'invalid email alert status: "{word}" specified with "none"', at=word
            )
    return frozenset(phases)


def smtp(value: str, place: Place) -> str:
    match = re.match(r"[0-9A-Za-z._+-]+", value)
    if match is None:
        raise place.error("invalid SMTP server address")
    return match[0]


def logfile(value: str, place: Place) -> str:
    """A file, or without a leading slash a syslog facility. Not looked at when supervised."""
    path = quoted()(value, place)
    if not path.startswith("/") or place.supervised:
        return path
    reason = place.source.world.why_not_appendable(path)
    if reason:
        raise place.error(f"unable to open logfile: {path}", reason.lower(), at=path)
    return path


def monitorfile(value: str, place: Place) -> str:
    match = re.match(r'"(.*)"', value)
    path = match[1] if match else value
    reason = place.source.world.why_not_appendable(path.strip())
    if reason:
        raise place.error(f"unable to open monitorfile {path}: {reason}", at=path)
    return path.strip()


def maintenancedir(value: str, place: Place) -> str:
    if not value:
        raise place.error("maintenance directory not specified")
    path = value.rstrip()
    if not place.source.world.is_directory(value):
        place.warn("maintenance directory does not exist", ours=False)
    return path
