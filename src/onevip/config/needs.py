"""What a configuration needs of the machine that is not there, each with what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from onevip.model import Check, CheckType, Configuration, MailAlert, Verify

SENDMAIL = "/usr/sbin/sendmail"
#: Probe → the Python module that it is made with, and Debian's package of it.
_MODULES = {
    "dns": ("dns", "python3-dnspython"),
    "http": ("h11", "python3-h11"),
    "https": ("h11", "python3-h11"),
    "http_proxy": ("h11", "python3-h11"),
}
_MAIL_MODULE = ("aiosmtplib", "python3-aiosmtplib")


def _can_read(path: str) -> bool:
    return os.access(path, os.R_OK) and Path(path).is_file()


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class Machine(NamedTuple):
    """What is looked for, and how; tests hand in another. `which` as shutil.which."""

    which: Callable[[str], str | None] = shutil.which
    can_read: Callable[[str], bool] = _can_read
    has_module: Callable[[str], bool] = _has_module


THIS_MACHINE = Machine()


def missing(configuration: Configuration, machine: Machine = THIS_MACHINE) -> list[str]:
    """One sentence for each thing that is needed and not there; empty when all is there.

    A service whose protocol has no probe is not looked at here: see `health.probes.PROBES`.
    """
    return list(dict.fromkeys(_missing(configuration, machine)))


def _missing(configuration: Configuration, machine: Machine) -> Iterator[str]:
    for service in configuration.services:
        if service.key.address.version == 6:
            yield (
                f"{service.key}: no engine forwards IPv6 yet. It stands in the table and its real "
                "servers are checked, but its clients are not served"
            )
        for server in service.real_servers:
            yield from _of_check(server.check, machine)
        yield from _of_mail(service.mail, machine)
        yield from _of_shell("fallbackcommand", service.fallback_command, machine)
    yield from _of_mail(configuration.mail, machine)
    if configuration.callback and not machine.which(configuration.callback):
        yield f"callback {configuration.callback} cannot be run: is it there, and executable?"


def _of_check(check: Check, machine: Machine) -> Iterator[str]:
    for probe in check.probes:
        if probe in _MODULES:
            yield from _of_module(*_MODULES[probe], f"service={probe}", machine)
    if check.type is CheckType.EXTERNAL and not machine.which(check.command):
        yield (
            f"checkcommand {check.command} cannot be run: is it there, and executable? All of it "
            "is the program's name, without arguments"
        )
    if check.type is CheckType.EXTERNAL_PERL:
        if not machine.which("perl"):
            yield "checktype=external-perl needs perl: apt install perl"
        if not machine.can_read(check.command):
            yield f"checkcommand {check.command} cannot be read: its servers are down"
    ca_file = check.tls.ca_file if check.tls.verify is not Verify.NONE else ""
    if ca_file and not machine.can_read(ca_file):
        yield f"tlscafile {ca_file} cannot be read: checks that need it fail"


def _of_mail(mail: MailAlert | None, machine: Machine) -> Iterator[str]:
    if mail is None:
        return
    if mail.smtp_host:
        yield from _of_module(*_MAIL_MODULE, "emailalert", machine)
    elif not machine.which(SENDMAIL):
        yield (
            f"emailalert needs {SENDMAIL} or a server in smtp=: apt install msmtp-mta (or another "
            "mail-transport-agent)"
        )


def _of_module(module: str, package: str, needed_by: str, machine: Machine) -> Iterator[str]:
    if not machine.has_module(module):
        yield f"{needed_by} needs the Python module {module}: apt install {package}"


def _of_shell(name: str, line: str, machine: Machine) -> Iterator[str]:
    """Only the first word of a shell's line can be looked at; of a builtin, which says nothing."""
    try:
        words = shlex.split(line)
    except ValueError:
        return
    if words and "/" in words[0] and not machine.which(words[0]):
        yield f"{name} {words[0]} cannot be run: is it there, and executable?"
