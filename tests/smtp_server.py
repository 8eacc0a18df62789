"""A mail server on 127.0.0.1 that says what the test wants. No real one: see netns/exim.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG = object()  # says nothing any more
LEAVE = object()  # closes the connection

_FRIENDLY = {
    "": "220 mx.example.org ready",
    "EHLO": "250 mx.example.org",
    "MAIL": "250 fine",
    "RCPT": "250 fine",
    "DATA": "354 go ahead",
    ".": "250 taken",
    "QUIT": "221 bye",
}


@dataclass
class Heard:
    """What clients said: their commands, and the mails that were taken."""

    commands: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)


@asynccontextmanager
async def smtp_server(
    answers: Mapping[str, object] | None = None,
) -> AsyncIterator[tuple[int, Heard]]:
    """Its port and what it heard. `answers`: by command; "" the greeting, "." the end of data."""
    heard = Heard()
    says = {**_FRIENDLY, **(answers or {})}
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await _serve(reader, writer, says, heard)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    says: dict[str, object],
    heard: Heard,
) -> None:
    async def answer(name: str) -> bool:
        text = says[name]
        if text is HANG:
            await asyncio.Event().wait()
        if text is LEAVE:
            return False
        writer.write(f"{text}\r\n".encode())
        await writer.drain()
        return True

    if not await answer(""):
        return
    while line := (await reader.readline()).decode().rstrip("\r\n"):
        heard.commands.append(line)
        name = line[:4].upper()
        if not await answer(name):
            return
        if name == "DATA" and str(says["DATA"]).startswith("354"):
            raw = (await reader.readuntil(b"\r\n.\r\n")).decode()
            if not await answer("."):
                return
            if str(says["."]).startswith("250"):
                heard.mails.append(raw.removesuffix(".\r\n"))
