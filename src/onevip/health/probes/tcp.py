"""`checktype=connect`: a TCP connection can be made. Sends nothing."""

from __future__ import annotations

from onevip.health.tools import Tools
from onevip.model import Check, Outcome


async def probe(check: Check, tools: Tools) -> Outcome:
    _, writer = await tools.connect(check)
    writer.transport.abort()
    return Outcome(True, "connected")
