"""The log in ldirectord's own sentences, which scripts look for (spec ldirectord §6)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from onevip.command.ldirectord.reading import in_one_line
from onevip.daemon import ldirectord_words as words
from onevip.daemon.events import (
    Event,
    FileChanged,
    NotReloaded,
    Probed,
    Reloaded,
    Row,
    Stopped,
    Stopping,
    TableChanged,
)
from onevip.health import Verdict
from onevip.model import ConfigError, Configuration

log = logging.getLogger(__name__)


class Journal:
    """A listener. `move` is told each configuration that is in force from now on: it may log to
    another place."""

    def __init__(self, move: Callable[[Configuration], None]) -> None:
        self._move = move
        self._file_has_changed = False
        self._signal = ""

    def heard(self, event: Event) -> None:
        match event:
            case Probed():
                _tell_failures(event)
            case TableChanged():
                for sentence in words.sentences(event):
                    log.info("%s", sentence)
            case FileChanged(configuration):
                self._tell_change(configuration)
            case Reloaded(configuration):
                self._tell_reload()
                self._move(configuration)
            case NotReloaded(error=error):
                self._tell_reload()
                if isinstance(error, ConfigError):
                    log.info("%s", in_one_line(error))
                    log.error("not reloaded, the last good configuration stays in force")
                else:
                    log.error("not reloaded, the last good configuration stays in force: %s", error)
            case Stopping(signal=signal):
                self._signal = signal
            case Stopped():
                log.info("Linux Director Daemon terminated on signal: %s", self._signal)
            case _:
                pass

    async def close(self) -> None:
        """Nothing is left to write."""

    def _tell_change(self, configuration: Configuration) -> None:
        log.info("Configuration file '%s' has changed on disk", configuration.file)
        log.info(" - %s new configuration", "reread" if configuration.autoreload else "ignore")
        self._file_has_changed = configuration.autoreload

    def _tell_reload(self) -> None:
        """Before its changes, as soon as it is known; a changed file has been told already."""
        if not self._file_has_changed:
            log.info("Reloading Linux Director Daemon config on signal")
        self._file_has_changed = False


def _tell_failures(event: Probed) -> None:
    """Not of servers in maintenance: it is no news that they fail."""
    before, after = event.probed.before, event.probed.after
    if not event.probed.outcome.tried:
        return
    rows = [row for row in event.rows if row not in event.in_maintenance]
    if before.failures and not after.failures:
        for row in rows:
            log.info("Resetting soft failure count: %s", _place(row, event.configuration))
    elif after.failures and after.verdict is not Verdict.DOWN:
        for row in rows:
            log.info(
                "Soft failure real server: %s failure %d/%d",
                *(_place(row, event.configuration), after.failures, after.failure_count),
            )


def _place(row: Row, configuration: Configuration) -> str:
    """`10.0.0.1:80 (tcp:192.0.2.1:80)`: here, unlike elsewhere, with the protocol."""
    service, real = row
    configured = words.configured_service(configuration, service)
    return f"{real} ({configured.id if configured else service})"
