"""Whole URLs as requests, proxies, and what a Host header says."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from onevip.health.conversation import Unhealthy
from onevip.health.url import Url, towards
from onevip.model import CheckPath, ForwardingMethod, Outcome, Protocol, RealServerKey, ServiceKey
from scripted import LOCAL, Serve, check, found, refusing, serving, tried

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOKAY"


def web(heard: list[str]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2])
        writer.write(PAGE)

    return serve


def at_url(service: str, url: str, host: str = "127.0.0.1", **details: object) -> list[str]:
    """What a server hears of a check whose request is this URL, PORT in it being its port.

    The check's own port is 1, at which nobody listens.
    """
    heard: list[str] = []

    async def run() -> None:
        async with serving(web(heard), host=host) as port:
            asked = check(service, 1, request=url.replace("PORT", str(port)), **details)
            outcome = await tried(asked)
            heard[:] = [line.replace(str(port), "PORT") for line in heard]
            assert outcome == Outcome(True, "status 200")

    asyncio.run(run())
    return heard


def test_a_whole_url_is_asked_where_it_points_to_and_the_host_header_stays():
    heard = at_url("http", "http://127.0.0.1:PORT/a?b=c")
    assert heard[:2] == ["GET /a?b=c HTTP/1.1", "Host: 127.0.0.1"]
    heard = at_url("http", "http://localhost:PORT", virtualhost="www.example.test")
    assert heard[:2] == ["GET / HTTP/1.1", "Host: www.example.test"]


def test_a_user_in_a_url_is_sent_by_basic_authentication_and_never_shown():
    heard = at_url("http", "http://Aladdin:open%20sesame@127.0.0.1:PORT/")
    assert "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" in heard
    assert "sesame" not in repr(Url.parsed("http://Aladdin:sesame@h/", "http"))
    for url in ("http://u:MARKER@127.0.0.1:1/", "http://u:MARKER@[/", "http://u:MARKER@:1/"):
        refused = found("http", refusing(), request=url)
        assert not refused.healthy
        assert "MARKER" not in refused.reason


def test_the_url_of_another_scheme_or_in_a_path_is_a_path():
    heard: list[str] = []
    assert found("http", serving(web(heard)), request="/http://127.0.0.1:1/").healthy
    assert heard[0] == "GET /http://127.0.0.1:1/ HTTP/1.1"


def test_a_url_without_a_name_that_is_known_says_so(monkeypatch):
    def getaddrinfo(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    refused = found("http", refusing(), request="http://no.example.test/")
    assert refused.reason == "no.example.test of the request: name or service not known"


def test_of_a_name_with_two_addresses_one_may_fail(monkeypatch):
    def getaddrinfo(_host, port, *_, **__):
        return [(0, 0, 0, "", ("127.0.0.2", port)), (0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert at_url("http", "http://two.example.test:PORT/")


def test_a_url_is_asked_for_by_the_common_way():
    service = ServiceKey(Protocol.TCP, LOCAL, 80)
    path = CheckPath(service, RealServerKey(LOCAL, 80), ForwardingMethod.GATE)
    there = replace(check("http", 80), path=path)
    url = Url.parsed("http://192.0.2.7:81/", "http")
    (moved,) = asyncio.run(towards(there, url))
    assert (str(moved.address), moved.port, moved.path) == ("192.0.2.7", 81, None)


@pytest.mark.parametrize("url", ["http://", "http:///x", "http://h:x/", "http://h:99999/"])
def test_a_bad_url_says_so(url):
    with pytest.raises(Unhealthy, match=r"^request is "):
        Url.parsed(url, "http")


def proxied(request: str, **details: object) -> list[str]:
    """What a proxy hears; PORT is its own port."""
    heard: list[str] = []

    async def run() -> None:
        async with serving(web(heard)) as port:
            outcome = await tried(check("http_proxy", port, request=request, **details))
            assert outcome == Outcome(True, "status 200")
            heard[:] = [line.replace(str(port), "PORT") for line in heard]

    asyncio.run(run())
    return heard


def test_a_proxy_is_asked_for_the_whole_url_and_its_host():
    expected = ["GET http://www.example.test:8080/a?b HTTP/1.1", "Host: www.example.test:8080"]
    assert proxied("/http://www.example.test:8080/a?b")[:2] == expected
    assert proxied("http://www.example.test:8080/a?b", virtualhost="other.test")[:2] == expected
    heard = proxied("/http://u:p@www.example.test/")
    assert heard[:2] == ["GET http://www.example.test/ HTTP/1.1", "Host: www.example.test"]
    assert "Authorization: Basic dTpw" in heard


def test_a_proxy_is_asked_for_its_own_page_when_the_request_is_no_url():
    heard = proxied("/squid-internal-mgr/info", http_method="HEAD")
    assert heard[:2] == [
        "HEAD http://127.0.0.1:PORT/squid-internal-mgr/info HTTP/1.1",
        "Host: 127.0.0.1:PORT",
    ]


def test_an_address_of_version_6_stands_in_brackets():
    heard: list[str] = []

    async def run() -> Outcome:
        async with serving(web(heard), host="::1") as port:
            await tried(check("http_proxy", port, address="::1"))
            return await tried(check("http", port, address="::1"))

    assert asyncio.run(run()).healthy
    assert heard[1].startswith("Host: [::1]:")
    assert "Host: [::1]" in heard
    assert at_url("http", "http://[::1]:PORT/", host="::1")


@pytest.mark.parametrize("host", ["a\0b", " a"])
def test_what_http_cannot_send_says_so(host):
    refused = found("http", serving(web([])), virtualhost=host)
    assert refused.reason.startswith("request or virtualhost cannot be sent by HTTP: ")


def test_a_host_outside_ascii_is_sent_as_it_is_written():
    heard: list[str] = []
    assert found("http", serving(web(heard)), virtualhost="bücher.test", request="/ü x").healthy
    assert heard[:2] == ["GET /%C3%BC%20x HTTP/1.1", "Host: bücher.test"]
