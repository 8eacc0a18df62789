"""onevip's own log of a daemon: each event in a sentence."""

from __future__ import annotations

import logging

from onevip.daemon import words
from onevip.daemon.events import (
    Event,
    FileChanged,
    NotReloaded,
    Probed,
    Reloaded,
    Started,
    Stopping,
    TableChanged,
    VerdictChanged,
)
from onevip.health import Verdict
from onevip.model import Configuration

log = logging.getLogger(__name__)


class Journal:
    """The listener of `onevip run`. Silent about probes that change nothing."""

    def heard(self, event: Event) -> None:
        match event:
            case Probed():
                _soft_failure(event)
            case VerdictChanged():
                log.info("%s", _verdict(event))
            case TableChanged(verdict=None):
                log.info("%s", words.change(event.change, event.before, event.configuration))
            case Started(configuration):
                log.info("started on %s: %s", configuration.file, _size(configuration))
            case FileChanged(configuration):
                ignored = (
                    "" if configuration.autoreload else ": read it by SIGHUP or autoreload=yes"
                )
                log.info("configuration file %s has changed on disk%s", configuration.file, ignored)
            case Reloaded(configuration):
                log.info("reloaded %s: %s", configuration.file, _size(configuration))
            case NotReloaded(error=error):
                log.error("not reloaded, the last good configuration stays in force: %s", error)
            case Stopping(signal=signal):
                log.info("stopping on SIG%s", signal)
            case _:
                pass

    async def close(self) -> None:
        """Nothing is left to write."""


def _soft_failure(event: Probed) -> None:
    state = event.probed.after
    if not event.probed.outcome.tried:
        return
    if not state.failures or state.verdict is not event.probed.before.verdict:
        return
    if state.verdict is not Verdict.DOWN:
        for service, real in event.rows:
            if (service, real) in event.in_maintenance:  # it is no news that it fails
                continue
            log.info("%s", words.soft_failure(service, real, state))


def _verdict(event: VerdictChanged) -> str:
    service, real = event.row
    if not event.applied:
        return words.verdict_alone(service, real, event.state)
    return words.verdict(service, real, event.state, event.before, event.after)


def _size(configuration: Configuration) -> str:
    real_servers = sum(len(service.real_servers) for service in configuration.services)
    return f"{len(configuration.services)} virtual services, {real_servers} real servers"
