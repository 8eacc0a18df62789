"""`service=http`: one request on a new connection; a 2xx answer whose body matches is healthy.

Redirects are not followed: what another host answers says nothing about this real server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from onevip.health.conversation import CLOSED_EARLY, READ_SIZE, Unhealthy, matches
from onevip.health.tools import Streams, Tools
from onevip.health.url import Url, escaped, is_url, towards
from onevip.model import Check, Outcome

MAX_BODY = 1 << 20  # what follows is neither read nor matched
MAX_PARTS = 20_000  # likewise: chunks of a byte or two are dear
MAX_INTERIM_ANSWERS = 16  # 1xx
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # RFC 8446 §5.1: an alert, a handshake

#: Check → a connection to its address and port.
Connect = Callable[[Check], Awaitable[Streams]]


@dataclass(frozen=True, slots=True)
class Request:
    """What the request line and the headers say."""

    target: str
    host: str
    authorization: str = ""


async def probe(check: Check, tools: Tools) -> Outcome:
    if is_url(check.request, "http"):
        return await at_url(check, tools, Url.parsed(check.request, "http"), tools.connect)
    return await converse(check, tools, await tools.connect(check), request_of(check))


async def at_url(check: Check, tools: Tools, url: Url, connect: Connect) -> Outcome:
    """Ask the URL's host; the Host header is as ever (spec ldirectord §4.1)."""
    request = Request(url.target, host_of(check), url.authorization)
    *others, last = await towards(check, url)
    for there in others:
        try:
            streams = await connect(there)
        except OSError:
            continue  # a host has several addresses so that one of them may fail
        return await converse(check, tools, streams, request)
    return await converse(check, tools, await connect(last), request)


def request_of(check: Check) -> Request:
    return Request(escaped(check.request), host_of(check))


def host_of(check: Check) -> str:
    """Without port, as ldirectord sends it."""
    address = check.address
    return check.virtualhost or (f"[{address}]" if address.version == 6 else str(address))


async def converse(check: Check, tools: Tools, streams: Streams, request: Request) -> Outcome:
    """Ask and judge the answer; the connection ends with it. Raises Unhealthy, OSError."""
    reader, writer = streams
    connection = h11.Connection(h11.CLIENT)
    try:
        writer.write(_sent(check, request, connection))
        status = await _status(connection, reader)
        body = await _body(connection, reader)
    except h11.LocalProtocolError as error:
        raise Unhealthy(f"request or virtualhost cannot be sent by HTTP: {error}") from error
    except h11.RemoteProtocolError as error:
        raise Unhealthy(f"not a good HTTP answer: {error}") from error
    finally:
        writer.transport.abort()  # close() would wait for a peer that does not read
    if not check.receive:
        return Outcome(True, f"status {status}")
    if check.http_method == "HEAD":
        raise Unhealthy("an answer to HEAD has no body that could match receive")
    if not await matches(check, tools, body):
        raise Unhealthy(f"body does not match /{check.receive}/")
    return Outcome(True, f"status {status}, body matches")


def _sent(check: Check, request: Request, connection: h11.Connection) -> bytes:
    headers = [
        (b"Host", request.host.encode("utf-8", "surrogateescape")),
        (b"User-Agent", b"onevip"),
        (b"Connection", b"close"),
    ]
    if request.authorization:
        headers.append((b"Authorization", request.authorization.encode()))
    event = h11.Request(method=check.http_method, target=request.target, headers=headers)
    return (connection.send(event) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    begun = False
    for _ in range(MAX_INTERIM_ANSWERS):
        event = connection.next_event()
        while event is h11.NEED_DATA:
            data = await reader.read(READ_SIZE)
            if not data:
                raise Unhealthy(CLOSED_EARLY)
            if not begun and data.startswith(TLS_RECORDS):
                raise Unhealthy("the server speaks TLS on this port: service=https")
            begun = True
            connection.receive_data(data)
            event = connection.next_event()
        if isinstance(event, h11.Response):
            return _good_status(event)
    raise Unhealthy("nothing but interim answers (1xx)")


def _good_status(response: h11.Response) -> int:
    status = response.status_code
    if 300 <= status < 400:
        target = dict(response.headers).get(b"location", b"nowhere").decode("latin-1")
        raise Unhealthy(f"status {status}: redirected to {target}, which is not followed")
    if not 200 <= status < 300:
        raise Unhealthy(f"status {status}")
    return status


async def _body(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    """The body, at most MAX_BODY of it and of what carries it, in at most MAX_PARTS."""
    parts: list[bytes] = []
    wire = 0
    while len(parts) < MAX_PARTS:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif event is h11.NEED_DATA:
            if wire >= MAX_BODY:
                break
            data = await reader.read(READ_SIZE)
            wire += len(data)
            connection.receive_data(data)  # nothing: the end, which may come too early
        else:
            break
    return b"".join(parts)[:MAX_BODY]
