"""Every protocol against servers that misbehave in every way: a reason in words, and in time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import make_certificates
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, Protocol, Secret
from scripted import (
    Server,
    black_hole,
    check,
    closing_at_once,
    dripping,
    endless,
    found,
    refusing,
    resetting,
    saying,
    serving,
    silence,
)

#: Service → what its check says beside.
SERVICES = {
    "http": {"receive": "OKAY"},
    "https": {"receive": "OKAY"},
    "http_proxy": {"request": "/http://www.example.test/", "receive": "OKAY"},
    "smtp": {},
    "submission": {},
    "simpletcp": {"request": "/PING\\n", "receive": "PONG"},
    "dns": {"request": "/www.example.test", "receive": "192.0.2.1", "protocol": Protocol.TCP},
}
PASSWORDS = {"passwd": Secret("MARKER"), "secret": Secret("MARKER"), "login": "u"}
GARBAGE = bytes(range(128, 256)) + b"\0\r\n"

Make = Callable[[], Server]
SERVERS: dict[str, Make] = {
    "refusing": refusing,
    "black hole": black_hole,
    "silent": lambda: serving(silence),
    "dripping": lambda: serving(dripping),
    "closing at once": lambda: serving(closing_at_once),
    "resetting": lambda: serving(resetting),
    "garbage": lambda: serving(endless(GARBAGE)),
    "no line's end": lambda: serving(endless(b"2")),
    "wrong protocol": lambda: serving(saying(b"SSH-2.0-OpenSSH_9.2\r\n")),
}
NO_TLS = "the server does not speak TLS on this port"
CLOSED = "the server closed the connection before it answered"
NO_HTTP = "not a good HTTP answer: "
NO_SMTP = "not an SMTP reply: "
#: Server → the reason's beginning for all, or by service.
REASONS: dict[str, str | dict[str, str]] = {
    "refusing": "connection refused",
    "black hole": "timed out after 0.2 s",
    "silent": "timed out after 0.2 s",
    "dripping": {"https": NO_TLS, "": "timed out after 0.2 s"},
    "closing at once": {
        "https": "the server closed the connection in the TLS handshake",
        "simpletcp": "the server closed the connection without a line",
        "": CLOSED,
    },
    "resetting": "connection reset by the server",
    "garbage": {
        "http": NO_HTTP,
        "http_proxy": NO_HTTP,
        "https": NO_TLS,
        "smtp": NO_SMTP,
        "submission": NO_SMTP,
        "simpletcp": "the server sends more than 1048576 bytes",
        "dns": "not a good DNS answer: |the server answers another query",
    },
    "no line's end": {
        "http": NO_HTTP,
        "http_proxy": NO_HTTP,
        "https": NO_TLS,
        "smtp": "the server sends more than 65536 bytes",
        "submission": "the server sends more than 65536 bytes",
        "simpletcp": "the server sends more than 1048576 bytes",
        "dns": "not a good DNS answer: |the server answers another query",
    },
    "wrong protocol": {
        "http": CLOSED,
        "http_proxy": CLOSED,
        "https": NO_TLS,
        "smtp": NO_SMTP + '"SSH-2.0-OpenSSH_9.2"',
        "submission": NO_SMTP + '"SSH-2.0-OpenSSH_9.2"',
        "simpletcp": "none of 1 lines matches /PONG/",
        "dns": CLOSED,
    },
}


def reason(server: str, service: str) -> str:
    words = REASONS[server]
    return words if isinstance(words, str) else words.get(service) or words[""]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_misbehaves_is_unhealthy_in_time_and_in_words(server, service, caplog):
    timeout_s = 0.2 if "timed out" in reason(server, service) else 5
    outcome = found(service, SERVERS[server](), timeout_s, **SERVICES[service], **PASSWORDS)
    assert not outcome.healthy
    words = "|".join(re.escape(part) for part in reason(server, service).split("|"))
    assert re.match(words, outcome.reason), outcome.reason
    assert "MARKER" not in outcome.reason
    assert not caplog.records


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory: Path = tmp_path_factory.mktemp("certificates")
    return make_certificates(directory).server("good")


@pytest.mark.parametrize("service", SERVICES.keys() - {"https"})
def test_a_port_with_tls_is_not_up_for_those_that_speak_plainly(service, tls, caplog):
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOKAY"
    outcome = found(service, serving(saying(page), tls), 0.3, **SERVICES[service])
    assert not outcome.healthy
    expected = r"timed out|the server (closed|speaks TLS)|connection reset|none of|not a good"
    assert re.match(expected, outcome.reason), outcome.reason


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_every_socket_of_a_probe_can_be_marked(service, protocol):
    """`checkpath=vip` marks them, see Tools.socket."""
    marked = []

    def mark_of(each: Check) -> int:
        marked.append(each)
        return 0

    async def run() -> Check:
        async with refusing() as port:
            asked = check(service, port, **{**SERVICES[service], "protocol": protocol})
            matcher = Matcher()
            await attempt(asked, service, PROBES, Tools(matcher.search, mark_of))
            return asked

    assert asyncio.run(run()) in marked


def test_http_says_when_the_server_speaks_tls():
    # An alert of OpenSSL's: unexpected message.
    alert = saying(bytes.fromhex("1503030002020a"), b"\r\n\r\n")
    outcome = found("http", serving(alert))
    assert outcome.reason == "the server speaks TLS on this port: service=https"
