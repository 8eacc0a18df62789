"""`checktype=ping`: an ICMP echo request that is answered, one of `ping_count`, is healthy."""

from __future__ import annotations

import asyncio

from onevip.health.echoes import Unreachable
from onevip.health.tools import Tools
from onevip.model import Check, Outcome


async def probe(check: Check, tools: Tools) -> Outcome:
    reason = ""
    for _ in range(check.ping_count):
        try:
            async with asyncio.timeout(check.timeout_s):
                await tools.echoes.ask(check.address, tools.mark_of(check))
            return Outcome(True, "answers pings")
        except TimeoutError:
            reason = f"timed out after {check.limit_s('ping'):g} s"
        except Unreachable as error:
            reason = str(error)
    return Outcome(False, reason)
