"""`checktype=connect`: a TCP connection can be made. Sends nothing.

Over UDP there is nothing to connect to: as in ldirectord, that succeeds where there is a route.
"""

from __future__ import annotations

import asyncio
import socket

from onevip.health.tools import Tools
from onevip.model import Check, Outcome, Protocol


async def probe(check: Check, tools: Tools) -> Outcome:
    kind = socket.SOCK_DGRAM if check.protocol is Protocol.UDP else socket.SOCK_STREAM
    with tools.socket(check, kind) as connected:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connected, (str(check.address), check.port))
    return Outcome(True, "connected")
