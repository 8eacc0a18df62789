"""`service=smtp` and `submission`: the server greets and answers EHLO, or HELO, with 2xx.

As ldirectord: no STARTTLS, no login, nothing is mailed. QUIT is said, its answer does not matter.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from onevip.health.conversation import CLOSED_EARLY, Lines, Unhealthy, quoted
from onevip.health.tools import Tools
from onevip.model import Check, Outcome

NAME = b"localhost.localdomain"
#: Of all that a server says. RFC 5321 §4.5.3.1.5 allows lines of 512 bytes; EHLO lists some 20.
MAX_BYTES = 1 << 16
GOODBYE_S = 1.0
_REPLY = re.compile(rb"([0-9]{3})(-?)")


async def probe(check: Check, tools: Tools) -> Outcome:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + check.negotiate_timeout_s
    reader, writer = await tools.connect(check)
    try:
        lines = Lines(reader, MAX_BYTES)
        greeting = await _reply(lines)
        if not greeting.startswith(b"2"):
            raise Unhealthy(f"the server greets with {quoted(greeting)}")
        word = await _hello(lines, writer)
        writer.write(b"QUIT\r\n")
        with suppress(OSError, Unhealthy):  # TimeoutError is an OSError
            async with asyncio.timeout(min(GOODBYE_S, (deadline - loop.time()) / 2)):
                await lines.next()
    finally:
        writer.transport.abort()
    return Outcome(True, f"{word} answered")


async def _hello(lines: Lines, writer: asyncio.StreamWriter) -> str:
    """Say EHLO, and HELO to a server that does not know it (5xx); which of them was welcome."""
    writer.write(b"EHLO %s\r\n" % NAME)
    answer = await _reply(lines)
    if answer.startswith(b"2"):
        return "EHLO"
    if not answer.startswith(b"5"):
        raise Unhealthy(f"EHLO is answered with {quoted(answer)}")
    writer.write(b"HELO %s\r\n" % NAME)
    answer = await _reply(lines)
    if answer.startswith(b"2"):
        return "HELO"
    raise Unhealthy(f"HELO is answered with {quoted(answer)}")


async def _reply(lines: Lines) -> bytes:
    """The last line of a reply, whose others go on with a hyphen (RFC 5321 §4.2.1)."""
    while True:
        line = await lines.next()
        if not line:
            raise Unhealthy(CLOSED_EARLY)
        match = _REPLY.match(line)
        if match is None:
            raise Unhealthy(f"not an SMTP reply: {quoted(line)}")
        if not match[2]:
            return line
