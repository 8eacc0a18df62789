"""What probes share when they talk with a server: how to give up, lines with a limit, matching."""

from __future__ import annotations

import asyncio

from onevip.health.matcher import TooSlow
from onevip.health.tls import server_name
from onevip.health.tools import Streams, Tools
from onevip.model import Check, OnevipError, Verify

READ_SIZE = 1 << 14  # small, so that an answer in tiny pieces holds the loop only shortly
CLOSED_EARLY = "the server closed the connection before it answered"


class Unhealthy(OnevipError):
    """Ends the attempt; its text is the reason."""


class Lines:
    """A stream's lines with their ends, at most `limit` bytes of them."""

    def __init__(self, reader: asyncio.StreamReader, limit: int) -> None:
        self._reader = reader
        self._left = limit
        self._limit = limit
        self._parts: list[bytes] = []  # of a line that has not ended; one long text costs squares
        self._whole: list[bytes] = []  # lines that are here, the last one first

    async def next(self) -> bytes:
        """The next line; without its end when the stream ends so; b"" at its end.

        Raises Unhealthy when the limit is exceeded.
        """
        while not self._whole:
            data = await self._reader.read(min(READ_SIZE, self._left + 1))
            self._left -= len(data)
            if self._left < 0:
                raise Unhealthy(f"the server sends more than {self._limit} bytes")
            if not data:
                last = b"".join(self._parts)
                self._parts.clear()
                return last
            self._take(data)
        return self._whole.pop()

    def _take(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            text = b"".join([*self._parts, data[:end]])
            self._parts.clear()
            self._whole = split_lines(text)[::-1]
        if end < len(data):
            self._parts.append(data[end:])


def split_lines(text: bytes) -> list[bytes]:
    """Lines with their ends, as Perl splits them: bytes.splitlines() splits at a lone \\r too."""
    *whole, rest = text.split(b"\n")
    lines = [line + b"\n" for line in whole]
    return [*lines, rest] if rest else lines


async def connect_tls(check: Check, tools: Tools, named: str = "") -> Streams:
    """As Tools.connect, TLS around it as `check.tls` wants it.

    `named`: what SNI asks for and the certificate must name where there is no virtualhost.
    Raises Unhealthy, OSError (ssl.SSLError is one), OnevipError for an unusable CA file.
    """
    context = await tools.contexts.of(check.tls)
    expected = check.virtualhost or named or str(check.address)
    name = server_name(expected)
    if not name and check.tls.verify is Verify.NAME:
        raise Unhealthy(f"virtualhost={expected} is no name that a certificate could have")
    try:
        return await tools.connect(check, tls=context, server_name=name)
    except ConnectionResetError as error:
        if error.errno:
            raise
        raise Unhealthy("the server closed the connection in the TLS handshake") from error


async def matches(check: Check, tools: Tools, text: bytes) -> bool:
    """Whether the check's `receive` is found in this text. Raises Unhealthy when that is slow."""
    try:
        return await tools.search(check.receive, text)
    except TooSlow as error:
        raise Unhealthy(f"matching /{check.receive}/ {error}") from error


def quoted(text: bytes) -> str:
    """A server's line as a reason may show it: `"421 too busy"`."""
    return f'"{text.decode("utf-8", "replace").strip()}"'
