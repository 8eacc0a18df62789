"""`service=http`: one request on a new connection; a 2xx answer whose body matches is healthy.

Redirects are not followed: what another host answers says nothing about this real server.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import h11

from onevip.health.matcher import TooSlow
from onevip.health.tools import Search, Tools
from onevip.model import Check, OnevipError, Outcome

MAX_BODY = 1 << 20  # what follows is neither read nor matched
READ_SIZE = 1 << 14  # small, so that an answer in tiny chunks holds the loop only shortly
MAX_INTERIM_ANSWERS = 16  # 1xx
#: What may stand in a request as it is: RFC 3986's reserved characters, and % for escapes.
_UNQUOTED = "%/:?#[]@!$&'()*+,;=~"


class Unhealthy(OnevipError):
    """Ends the attempt; its text is the reason."""


async def probe(check: Check, tools: Tools) -> Outcome:
    reader, writer = await tools.connect(check)
    try:
        return await _ask(check, reader, writer, tools.search)
    except h11.RemoteProtocolError as error:
        return Outcome(False, f"not a good HTTP answer: {error}")
    except Unhealthy as reason:
        return Outcome(False, str(reason))
    finally:
        writer.transport.abort()  # close() would wait for a peer that does not read


async def _ask(
    check: Check, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, search: Search
) -> Outcome:
    connection = h11.Connection(h11.CLIENT)
    writer.write(_request(check, connection))
    status = await _status(connection, reader)
    body = await _body(connection, reader)
    if not check.receive:
        return Outcome(True, f"status {status}")
    if check.http_method == "HEAD":
        raise Unhealthy("an answer to HEAD has no body that could match receive")
    try:
        found = await search(check.receive, body)
    except TooSlow as error:
        raise Unhealthy(f"matching /{check.receive}/ {error}") from error
    if not found:
        raise Unhealthy(f"body does not match /{check.receive}/")
    return Outcome(True, f"status {status}, body matches")


def _request(check: Check, connection: h11.Connection) -> bytes:
    host = check.virtualhost or str(check.address)  # without port, as ldirectord sends it
    request = h11.Request(
        method=check.http_method,
        target=quote(check.request, safe=_UNQUOTED, errors="surrogateescape"),
        headers=[("Host", host), ("User-Agent", "onevip"), ("Connection", "close")],
    )
    return (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    for _ in range(MAX_INTERIM_ANSWERS):
        event = connection.next_event()
        while event is h11.NEED_DATA:
            data = await reader.read(READ_SIZE)
            if not data:
                raise Unhealthy("the server closed the connection before it answered")
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
    """The body, at most MAX_BODY of it and of what carries it."""
    parts: list[bytes] = []
    wire = 0
    while True:
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
