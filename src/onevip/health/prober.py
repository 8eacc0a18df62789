"""One attempt at one check: the probe with its time limit, and its errors in words.

Whatever a server does, an attempt ends in time and with an Outcome. Whatever this machine lacks,
no server is blamed for it.
"""

from __future__ import annotations

import errno
import logging
import os
import ssl
import traceback
from collections.abc import Mapping

from onevip.health.limit import Limit
from onevip.health.tools import Probe, Tools
from onevip.health.untried import OWN_TROUBLE, CouldNotTry
from onevip.model import Check, OnevipError, Outcome
from onevip.model.secret import HIDDEN

log = logging.getLogger(__name__)

MAX_REASON = 200
#: A time limit that strikes this late struck because the director stood still (stopped, its
#: virtual machine paused, out of CPU): that says nothing of the real server.
STOOD_STILL_S = 0.5
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the server",
    errno.EPIPE: "connection reset by the server",
    errno.EHOSTUNREACH: "no route to the real server, or it does not answer ARP",
    errno.ENETUNREACH: "no route to the network of the real server",
    errno.EINVAL: "the route to the real server is a blackhole",
    errno.ETIMEDOUT: "the kernel gave up connecting",
    errno.EPERM: "a packet filter of the director forbids it",
    errno.EACCES: "the route to the real server is prohibited",
    **OWN_TROUBLE,
}


async def attempt(check: Check, name: str, probes: Mapping[str, Probe], tools: Tools) -> Outcome:
    """Run the probe of this name, one of `check.probes`, once, for at most its time limit.

    Twice when the first one timed out because this process stood still; else all servers that
    were being probed then would be down at once.
    """
    probe = probes.get(name)
    if probe is None:
        return Outcome(False, f"service={name} cannot be checked by this version")
    async with tools.places:
        limit = Limit(check.limit_s(name))
        outcome = await _attempt(check, probe, tools, limit)
        if limit.is_over and limit.late_s > STOOD_STILL_S:
            outcome = await _attempt(check, probe, tools, Limit(limit.seconds))
    return outcome


async def _attempt(check: Check, probe: Probe, tools: Tools, limit: Limit) -> Outcome:
    try:
        async with limit:
            outcome = await probe(check, tools.within(limit))
    except CouldNotTry as trouble:
        outcome = Outcome(False, str(trouble), tried=False)
    except OSError as error:  # TimeoutError is one too
        reason = f"timed out after {limit.seconds:g} s" if limit.is_over else words(error)
        outcome = Outcome(False, reason, tried=limit.is_over or not _is_ours(error))
    except OnevipError as reason:
        outcome = Outcome(False, str(reason))
    except Exception as error:  # noqa: BLE001 - it is logged, without secrets
        # A bug of ours must not end the checks, nor leave the server up unchecked.
        log.error("the probe of %s crashed:\n%s", check, hidden(check, traceback.format_exc()))
        outcome = Outcome(False, f"the probe crashed: {type(error).__name__}: {error}")
    return Outcome(outcome.healthy, printable(hidden(check, outcome.reason)), outcome.tried)


def words(error: OSError) -> str:
    """An error of the network as an operator would say it."""
    if isinstance(error, ssl.SSLError):  # its numbers are OpenSSL's
        return str(error)
    number = error.errno or 0
    return _WORDS.get(number) or (os.strerror(number).lower() if number else str(error))


def hidden(check: Check, text: str) -> str:
    """Without the check's secrets: a server may repeat them in its complaint."""
    for secret in (check.passwd, check.secret):
        if secret:
            text = text.replace(secret.reveal(), HIDDEN)
    return text


def printable(reason: str) -> str:
    """Servers write parts of reasons, so a reason may not write log lines of its own."""
    text = "".join(char if char.isprintable() else "?" for char in reason)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def _is_ours(error: OSError) -> bool:
    return error.errno in OWN_TROUBLE and not isinstance(error, ssl.SSLError)
