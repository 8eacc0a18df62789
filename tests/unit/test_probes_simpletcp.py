"""simpletcp by TCP and UDP: what is sent, and which lines count."""

from __future__ import annotations

import asyncio

import pytest

from onevip.model import Outcome, Protocol
from scripted import Answer, Serve, answering, found, serving


def echoing(text: bytes, heard: list[bytes]) -> Serve:
    """Reads until its client ends its side, then answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.write(text)

    return serve


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        ("/PING\\n", b"PING\n"),
        ("/a\\nb\\r\\t\\\\n", b"a\nb\\r\\t\\\n"),
        ("//x", b"/x"),
        ("/", b""),
        ("/é\udcff", "é".encode() + b"\xff"),
    ],
)
def test_the_request_is_sent_and_the_sending_side_ends(request_, sent):
    heard: list[bytes] = []
    server = serving(echoing(b"+PONG\r\n", heard))
    outcome = found("simpletcp", server, request=request_, receive="PONG")
    assert outcome == Outcome(True, "line 1 matches")
    assert heard == [sent]


@pytest.mark.parametrize(
    ("text", "receive", "outcome"),
    [
        (b"one\ntwo\n", "two", Outcome(True, "line 2 matches")),
        (b"one\ntwo", "^two$", Outcome(True, "line 2 matches")),  # the end needs no newline
        (b"one\ntwo\n", "^two$", Outcome(True, "line 2 matches")),
        (b"one\rtwo\r\n", "^two", Outcome(False, "none of 1 lines matches /^two/")),
        (b"one\ntwo\n", "e.*t", Outcome(False, "none of 2 lines matches /e.*t/")),
        (b"one\ntwo\n", "(?s)e.t", Outcome(False, "none of 2 lines matches /(?s)e.t/")),
        (b"\n\n\nok\n", "ok", Outcome(True, "line 4 matches")),
        (b"anything", "", Outcome(True, "answered")),
        (b"", "", Outcome(False, "the server closed the connection without a line")),
        (b"x" * 300_000 + b"\n", "x$", Outcome(True, "line 1 matches")),
        (b"x\n" * 20_000, "y", Outcome(False, "none of the first 10000 lines matches /y/")),
        (
            b"a" * 40 + b"\n",
            "(a+)+b",
            Outcome(False, "matching /(a+)+b/ takes more than 0.2 s: the pattern backtracks"),
        ),
    ],
)
def test_a_line_that_matches_is_up(text, receive, outcome):
    assert found("simpletcp", serving(echoing(text, [])), receive=receive) == outcome


def test_a_line_counts_as_soon_as_it_is_there():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (b"he", b"llo\nPO", b"NG\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    assert found("simpletcp", serving(serve), receive="^PONG$").reason == "line 2 matches"


def by_udp(answer: Answer, receive: str, timeout_s: float = 5) -> Outcome:
    details = {"request": "/PING\\n", "receive": receive, "protocol": Protocol.UDP}
    return found("simpletcp", answering(answer), timeout_s, **details)


def test_by_udp_the_end_of_a_datagram_ends_a_line():
    heard = []

    def answer(data: bytes) -> list[bytes]:
        heard.append(data)
        return [b"one\ntwo", b"three"]

    assert by_udp(answer, "^two$") == Outcome(True, "line 2 matches")
    assert by_udp(answer, "^three$") == Outcome(True, "line 3 matches")
    assert by_udp(answer, "twothree", 0.5) == Outcome(False, "none of 3 lines matches /twothree/")
    assert by_udp(answer, "") == Outcome(True, "answered")
    assert heard == [b"PING\n"] * 4


def test_by_udp_silence_and_a_closed_port_are_down():
    from scripted import refusing

    assert by_udp(lambda _: [], "x", 0.2) == Outcome(False, "timed out after 0.2 s")
    closed = found("simpletcp", refusing(), protocol=Protocol.UDP)
    assert closed == Outcome(False, "connection refused")
