"""One attempt at a check, against servers on 127.0.0.1 that answer well, badly or not at all."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import IPv4Address

import pytest

from onevip.health.matcher import Matcher, TooSlow
from onevip.health.prober import attempt, words
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Outcome
from scripted import Serve, serving, tried

LOCAL = IPv4Address("127.0.0.1")


def http(port: int, timeout_s: float = 5, **details: str) -> Check:
    return Check(CheckType.NEGOTIATE, LOCAL, port, 5, 1, timeout_s, "http", **details)


def outcome(answer: bytes | Serve, timeout_s: float = 5, **details: str) -> Outcome:
    """What a probe makes of a server that answers so."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def run() -> Outcome:
        async with serving(reply if isinstance(answer, bytes) else answer) as port:
            return await tried(http(port, timeout_s, **details))

    return asyncio.run(run())


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_a_good_answer_is_healthy():
    assert outcome(ok(b"OKAY")) == Outcome(True, "status 200")
    assert outcome(ok(b"it is OKAY\n"), receive="OKAY") == Outcome(True, "status 200, body matches")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nOKAY",
        b"HTTP/1.0 200 OK\r\n\r\nOKAY",
        b"HTTP/1.1 206 Partial\r\n\r\nOKAY",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n2\r\nAY\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"OKAY"),
    ],
)
def test_every_framing_of_a_body_is_read(answer):
    assert outcome(answer, receive="^OKAY$").healthy


def test_the_request_is_what_a_web_server_expects():
    seen = []

    async def keep(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ok(b""))

    outcome(keep, request="/a b?c=%20&d=é", virtualhost="www.example.test")
    outcome(keep, request="/x")
    assert seen[0].startswith(b"GET /a%20b?c=%20&d=%C3%A9 HTTP/1.1\r\nHost: www.example.test\r\n")
    assert seen[1].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert b"Connection: close" in seen[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\nOKAY", "status 503"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://x.test/\r\n\r\n",
            "status 302: redirected to http://x.test/, which is not followed",
        ),
        (ok(b"NOT YET"), "body does not match /OKAY/"),
        (b"", "the server closed the connection before it answered"),
        (b"HTTP/1.1 200", "the server closed the connection before it answered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not a good HTTP answer: illegal status line"),
        (b"\0" * 100 + b"\r\n\r\n", "not a good HTTP answer: illegal status line"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOKAY",
            "not a good HTTP answer: peer closed connection without sending complete message body",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "nothing but interim answers (1xx)"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000, "not a good HTTP answer: Receive buffer"),
    ],
)
def test_a_bad_answer_is_unhealthy_and_says_why(answer, reason):
    found = outcome(answer, receive="OKAY")
    assert not found.healthy
    assert found.reason.startswith(reason)


def test_head_has_no_body_to_match():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    assert outcome(head, http_method="HEAD").healthy
    assert not outcome(head, http_method="HEAD", receive=".*").healthy


def test_a_refused_connection_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        found = asyncio.run(tried(http(port)))
    assert found == Outcome(False, "connection refused")


async def silence(reader, writer):
    await reader.read()


async def slow_drip(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"A: a\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless_body(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nOKAY")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def tiny_chunks(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n" * 5000)
        await writer.drain()


@pytest.mark.parametrize("server", [silence, slow_drip])
def test_a_server_that_takes_too_long_is_unhealthy(server):
    assert outcome(server, timeout_s=0.1) == Outcome(False, "timed out after 0.1 s")


def test_of_an_endless_body_the_first_mebibyte_counts():
    assert outcome(endless_body, receive="OKAY").healthy
    assert not outcome(endless_body, receive="absent").healthy


def test_of_tiny_chunks_not_even_that():
    assert outcome(tiny_chunks, receive="^x{20000}$").healthy


def test_a_reset_connection_says_so():
    async def reset(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert outcome(reset) == Outcome(False, "connection reset by the server")


def test_a_server_cannot_write_log_lines():
    found = outcome(b"HTTP/1.1 302 x\r\nLocation: a\x7f\x80" + b"b" * 999 + b"\r\n\r\n")
    assert found.reason.isprintable()
    assert len(found.reason) <= 200


def test_connect_needs_no_answer():
    async def run() -> Outcome:
        async with serving(silence) as port:
            return await tried(Check(CheckType.CONNECT, LOCAL, port, 5, 1))

    assert asyncio.run(run()) == Outcome(True, "connected")


def test_a_probe_that_crashes_is_a_failed_outcome_and_a_logged_traceback(caplog):
    async def crash(check: Check, tools: Tools) -> Outcome:
        raise ZeroDivisionError("planted")

    found = asyncio.run(attempt(http(80), "http", {"http": crash}, Tools(Matcher().search)))
    assert found == Outcome(False, "the probe crashed: ZeroDivisionError: planted")
    assert "ZeroDivisionError" in caplog.text


def stalling(stalls: int) -> tuple[Outcome, int]:
    """What an attempt finds when this process stands still in its first probes, and the probes."""
    probes_begun = 0

    async def run() -> Outcome:
        loop = asyncio.get_running_loop()
        real_time, stood_still_s = loop.time, 0.0
        loop.time = lambda: real_time() + stood_still_s

        async def probe(check: Check, tools: Tools) -> Outcome:
            nonlocal probes_begun, stood_still_s
            probes_begun += 1
            if probes_begun <= stalls:
                stood_still_s += 60
                await asyncio.Event().wait()
            return Outcome(True, "connected")

        return await attempt(http(80), "http", {"http": probe}, Tools(Matcher().search))

    return asyncio.run(run()), probes_begun


def test_a_director_that_stood_still_blames_no_server_for_it():
    assert stalling(1) == (Outcome(True, "connected"), 2)


def test_a_director_that_stands_still_all_the_time_comes_to_a_verdict():
    assert stalling(2) == (Outcome(False, "timed out after 5 s"), 2)


def test_a_blackhole_is_called_by_its_name():
    assert words(OSError(errno.EINVAL, "")) == "the route to the real server is a blackhole"


# receive


@pytest.mark.parametrize("pattern", ["OKAY", "OK.*Y", "(?i)okay", "^OKAY$", "O(K|x)A", "\\x4fKAY"])
def test_receive_is_a_regular_expression_searched_anywhere(pattern):
    assert outcome(ok(b"OKAY"), receive=pattern).healthy
    assert not outcome(ok(b"NO"), receive=pattern).healthy


BACKTRACKING = "(a+)+b"


def test_a_receive_that_backtracks_ends_and_delays_no_other_search():
    async def run() -> None:
        matcher = Matcher(cpu_limit_s=0.3)
        slow = asyncio.create_task(matcher.search(BACKTRACKING, b"a" * 40))
        assert await matcher.search("x+y", b"xxy")
        assert not slow.done()
        with pytest.raises(TooSlow):
            await slow
        again = [asyncio.create_task(matcher.search(BACKTRACKING, b"a" * 40)) for _ in range(9)]
        await asyncio.sleep(0)  # all of them are waiting now
        assert await matcher.search("x+y", b"xxy")
        for task in again:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)
        assert await matcher.search(BACKTRACKING, b"aab")
        await matcher.close()

    asyncio.run(run())


def test_a_receive_that_backtracks_makes_the_server_unhealthy():
    found = outcome(ok(b"a" * 40), receive=BACKTRACKING)
    assert found.reason == "matching /(a+)+b/ takes more than 0.2 s: the pattern backtracks"
