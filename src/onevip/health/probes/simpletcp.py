"""`service=simpletcp`: the request is sent, and a line of the answer must match receive.

Sends the request without its leading slash, `\\n` in it as a newline and nothing else escaped,
then ends its own side (spec ldirectord §4.1). With protocol=udp the request is one datagram, and
the end of a datagram ends a line. Without receive any line is enough.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from onevip.health.conversation import Lines, Unhealthy, matches, split_lines
from onevip.health.tools import Tools
from onevip.model import Check, Outcome, Protocol

MAX_BYTES = 1 << 20
MAX_LINES = 10_000  # each may cost a search in another process, see matcher
MAX_DATAGRAM = 1 << 16
#: UDP knows no end: after so long without a further datagram there is none.
MAX_GAP_S = 2.0

#: → the next line, b"" at the end.
Next = Callable[[], Awaitable[bytes]]


async def probe(check: Check, tools: Tools) -> Outcome:
    return await (_by_udp if check.protocol is Protocol.UDP else _by_tcp)(check, tools)


def sent(check: Check) -> bytes:
    text = check.request.removeprefix("/").replace("\\n", "\n")
    return text.encode("utf-8", "surrogateescape")


async def _by_tcp(check: Check, tools: Tools) -> Outcome:
    reader, writer = await tools.connect(check)
    try:
        if request := sent(check):
            writer.write(request)
        with suppress(OSError):  # the connection is gone already: reading tells how
            writer.write_eof()
        return await _judged(check, tools, Lines(reader, MAX_BYTES).next)
    finally:
        writer.transport.abort()


async def _by_udp(check: Check, tools: Tools) -> Outcome:
    loop = asyncio.get_running_loop()
    with tools.socket(check, socket.SOCK_DGRAM) as connected:
        await loop.sock_connect(connected, (str(check.address), check.port))
        await loop.sock_sendall(connected, sent(check))
        gap_s = min(MAX_GAP_S, check.negotiate_timeout_s / 2)
        lines: list[bytes] = []
        has_answered = False

        async def following() -> bytes:
            nonlocal has_answered
            while not lines:
                try:
                    async with asyncio.timeout(gap_s if has_answered else None):
                        datagram = await loop.sock_recv(connected, MAX_DATAGRAM)
                except TimeoutError:
                    return b""
                has_answered = True
                lines.extend(reversed(split_lines(datagram) or [b"\n"]))
            return lines.pop()

        return await _judged(check, tools, following)


async def _judged(check: Check, tools: Tools, following: Next) -> Outcome:
    for number in range(1, MAX_LINES + 1):
        line = await following()
        if not line:
            if number == 1:
                raise Unhealthy("the server closed the connection without a line")
            raise Unhealthy(f"none of {number - 1} lines matches /{check.receive}/")
        if not check.receive:
            return Outcome(True, "answered")
        if await matches(check, tools, line):
            return Outcome(True, f"line {number} matches")
    raise Unhealthy(f"none of the first {MAX_LINES} lines matches /{check.receive}/")
