"""One attempt at one check: the probe with its time limit, and its errors in words.

Whatever a server does, an attempt ends in time and with an Outcome.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import replace

from onevip.health import by_vip
from onevip.health.tools import Probe, Tools, no_mark
from onevip.model import Check, Outcome

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
    errno.EMFILE: "the director is out of file descriptors: raise its limit",
    errno.EADDRNOTAVAIL: "the director is out of local ports",
}


async def attempt(check: Check, name: str, probes: Mapping[str, Probe], tools: Tools) -> Outcome:
    """Run the probe of this name, one of `check.probes`, once, for at most its time limit.

    Twice when the first one timed out because this process stood still; else all servers that
    were being probed then would be down at once.
    """
    probe = probes.get(name)
    if probe is None:
        return Outcome(False, f"service={name} cannot be checked by this version")
    seconds = check.negotiate_timeout_s if name == check.service else check.timeout_s
    limit = asyncio.timeout(seconds)
    outcome = await _attempt(check, probe, tools, limit, seconds)
    if limit.expired() and _late_s(limit) > STOOD_STILL_S:
        outcome = await _attempt(check, probe, tools, asyncio.timeout(seconds), seconds)
    if outcome.healthy or not tools.mark_of(check):
        return outcome

    async def by_own_address(within_s: float) -> Outcome:
        common = replace(tools, mark_of=no_mark)
        return await _attempt(check, probe, common, asyncio.timeout(within_s), within_s)

    return await by_vip.explained(check, outcome, by_own_address)


async def _attempt(
    check: Check, probe: Probe, tools: Tools, limit: asyncio.Timeout, seconds: float
) -> Outcome:
    try:
        async with limit:
            outcome = await probe(check, tools)
    except OSError as error:  # TimeoutError is one too
        reason = f"timed out after {seconds:g} s" if limit.expired() else words(error)
        return Outcome(False, reason)
    except Exception as error:
        # A bug of ours must not end the checks, nor leave the server up unchecked.
        log.exception("the probe of %s crashed", check)
        return Outcome(False, f"the probe crashed: {type(error).__name__}: {error}")
    return Outcome(outcome.healthy, printable(outcome.reason))


def _late_s(limit: asyncio.Timeout) -> float:
    """How long after its time this limit struck."""
    return asyncio.get_running_loop().time() - (limit.when() or 0.0)


def words(error: OSError) -> str:
    """An error of the network as an operator would say it."""
    number = error.errno or 0
    return _WORDS.get(number) or (os.strerror(number).lower() if number else str(error))


def printable(reason: str) -> str:
    """Servers write parts of reasons, so a reason may not write log lines of its own."""
    text = "".join(char if char.isprintable() else "?" for char in reason)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
