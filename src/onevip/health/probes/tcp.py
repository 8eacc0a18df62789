"""`checktype=connect`: a TCP connection can be made. Sends nothing."""

from __future__ import annotations

import asyncio

from onevip.model import Check, Outcome


async def probe(check: Check) -> Outcome:
    _, writer = await asyncio.open_connection(str(check.address), check.port)
    writer.transport.abort()
    return Outcome(True, "connected")
