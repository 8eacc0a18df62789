"""Servers on 127.0.0.1 that answer as a test wants, and probes that are tried against them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address, ip_address

from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Outcome

LOCAL = IPv4Address("127.0.0.1")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[[bytes], Iterable[bytes]]
#: A server that runs as long as the context, and its port.
Server = AbstractAsyncContextManager[int]


@contextlib.asynccontextmanager
async def serving(
    serve: Serve, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    handlers = []
    # In Python 3.11 a handler that is cancelled is logged as a crash.
    usual = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append((asyncio.current_task(), writer))
        try:
            with contextlib.suppress(*usual):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in handlers:
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*(task for task, _ in handlers), return_exceptions=True)


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """A UDP server: each datagram is answered with those that `answer` makes of it."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            for datagram in answer(data):
                self.transport.sendto(datagram, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    """A port at which nobody listens, nor will."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A port whose SYNs are dropped: its queue of connections is full."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        yield full.getsockname()[1]


def saying(text: bytes, after: bytes = b"") -> Serve:
    """Sends a text, at once or when it has read so far, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after:
            await reader.readuntil(after)
        writer.write(text)
        await writer.drain()
        if writer.can_write_eof():
            await closing_at_once(reader, writer)

    return serve


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def closing_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await reader.read()  # closing before all is read would be a reset


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.01)


def endless(text: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(text * (65536 // len(text)))
            await writer.drain()

    return serve


def check(service: str, port: int, timeout_s: float = 5, **details: object) -> Check:
    """A negotiation with 127.0.0.1, or with the `address` of the details."""
    address = ip_address(str(details.pop("address", LOCAL)))
    return Check(CheckType.NEGOTIATE, address, port, timeout_s, 1, timeout_s, service, **details)


async def tried(check: Check) -> Outcome:
    """What one attempt finds; it leaves no task behind."""
    matcher = Matcher(cpu_limit_s=0.2)
    before = asyncio.all_tasks()
    try:
        return await attempt(check, check.probes[-1], PROBES, Tools(matcher.search))
    finally:
        await matcher.close()
        assert not [task for task in asyncio.all_tasks() - before if not _of_a_server(task)]


def _of_a_server(task: asyncio.Task[object]) -> bool:
    return any(name in repr(task) for name in ("guarded", "_accept_connection"))


def found(service: str, server: Server, timeout_s: float = 5, **details: object) -> Outcome:
    """What a probe makes of this server; it leaves no descriptor open."""

    async def run() -> Outcome:
        async with server as port:
            return await tried(check(service, port, timeout_s, **details))

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one that it opens itself counts
    outcome = asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert outcome.reason.isprintable()
    assert 0 < len(outcome.reason) <= 200
    return outcome
