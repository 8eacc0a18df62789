"""Which checks go by way of the VIP, and the marks that send their probes there (checkpath=vip).

What cannot go that way is said, and goes the common one: to the real server's own address.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from onevip.engines.base import Engine
from onevip.model import Check, CheckPath, CheckType, Configuration, ForwardingMethod, OnevipError

log = logging.getLogger(__name__)

Use = Callable[[Iterable[CheckPath]], Mapping[CheckPath, int]]


class CheckPaths:
    """The marks of one daemon's checks. An engine that can lead probes has `check_paths`."""

    def __init__(self, engine: Engine) -> None:
        self._use: Use | None = getattr(engine, "check_paths", None)
        self._marks: Mapping[CheckPath, int] = {}

    def mark_of(self, check: Check) -> int:
        """What its probes' sockets bear; 0: nothing, they go the common way."""
        return self._marks.get(check.path, 0) if check.path else 0

    def use(self, configuration: Configuration) -> None:
        """Make ready the ways of these checks, before any of them is probed. Raises nothing."""
        checks = {
            server.check: f"{configuration.file}:{server.line}: {server.real.key}"
            for service in configuration.services
            for server in service.real_servers
            if server.check.path
        }
        paths = {check.path for check in checks if check.path and not _by_program(check)}
        if not self._take(paths):
            return
        for check, place in checks.items():
            if check.path not in self._marks:
                log.warning("%s is not checked by way of the VIP: %s", place, why_not(check))

    def end(self) -> None:
        """Nothing is left of the ways."""
        self._take(set())

    def _take(self, paths: set[CheckPath]) -> bool:
        """Whether the engine made ready those that it can."""
        if self._use is None:
            if paths:
                log.warning("no check goes by way of the VIP: this engine leads none there")
            return False
        try:
            self._marks = self._use(paths)
        except OnevipError as error:
            self._marks = {}
            log.error("no check goes by way of the VIP: %s", error)
            return False
        except Exception:
            # The configuration is in force already, or the daemon about to end.
            self._marks = {}
            log.exception("no check goes by way of the VIP")
            return False
        return True


def why_not(check: Check) -> str:
    """Why a check that should go by way of the VIP does not, in words."""
    path = check.path
    if _by_program(check):
        return "an external program has sockets of its own"
    if path is None or path.method is ForwardingMethod.MASQ:
        return "masq leads to its own address, as every check does"
    if path.service.mark:
        return "a service by firewall mark has no VIP of its own"
    if path.service.address.version == 6 or path.real.address.version == 6:
        return "IPv6 packets are not led along the data path yet"
    return "it is this machine itself, or behind an interface without Ethernet header"


def _by_program(check: Check) -> bool:
    return check.type in (CheckType.EXTERNAL, CheckType.EXTERNAL_PERL)
