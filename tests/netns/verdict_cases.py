"""What a server does, and whether it is up: for the real ldirectord and for onevip.

`differs` says why onevip's verdict is the opposite of ldirectord's; without it they are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from scripted import (
    Answer,
    Serve,
    closing_at_once,
    dripping,
    resetting,
    saying,
    silence,
)

HOST = "www.example.test"


@dataclass(frozen=True, slots=True)
class Case:
    """One server and one check. `server`: what it does by TCP, or by UDP, or why it is not there.

    PORT in `says` (directives) and `real` (a request of the real server's own line) is its port.
    """

    name: str
    service: str
    server: Serve | Answer | str
    up: bool  # onevip's verdict
    differs: str = ""
    says: Mapping[str, str] = field(default_factory=dict)
    real: str = ""
    certificate: str = ""  # of a server with TLS
    sni: str = ""  # without this name it ends the handshake
    slow: bool = False  # takes its whole time limit

    @property
    def real_up(self) -> bool:
        return self.up is not bool(self.differs)


def http(text: bytes) -> Serve:
    return saying(text, b"\r\n\r\n")


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def by_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """200 for /there, a redirect to it for the rest."""
    line, *_ = (await reader.readuntil(b"\r\n\r\n")).splitlines()
    if b"there" in line:
        writer.write(ok(b"THERE " + line))
    else:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")


async def by_host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    known = f"Host: {HOST}\r\n".encode() in request
    writer.write(ok(b"OKAY") if known else b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")


async def half_a_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nOKAY")
    await silence(reader, writer)


def talking(*answers: str, then: Serve | None = None) -> Serve:
    """SMTP, answer by answer; the first is the greeting."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer.encode().replace(b"\n", b"\r\n") + b"\r\n")
            await reader.readline()
        if then:
            await then(reader, writer)
        writer.write(b"221 bye\r\n")

    return serve


def echo(text: bytes) -> Serve:
    """Answers when its client has ended its side; `%s` in the text is what was sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text.replace(b"%s", await reader.read()))

    return serve


def zone(*records: str, code: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0) -> Answer:
    def answer(wire: bytes) -> list[bytes]:
        query = dns.message.from_wire(wire)
        made = dns.message.make_response(query)
        made.set_rcode(code)
        made.flags |= flags
        for record in records:
            rrset = dns.rrset.from_text(*record.split(maxsplit=4))
            if rrset.name == query.question[0].name and rrset.rdtype in {
                query.question[0].rdtype,
                dns.rdatatype.CNAME,
            }:
                made.answer.append(rrset)
        return [made.to_wire()]

    return answer


def by_tcp(answer: Answer) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            for wire in answer(await reader.readexactly(length)):
                writer.write(len(wire).to_bytes(2, "big") + wire)

    return serve


A = f"{HOST}. 60 IN A 192.0.2.1"
AAAA = f"{HOST}. 60 IN AAAA 2001:db8::1"
CNAME = f"{HOST}. 60 IN CNAME web.example.test."
PTR = f"1.2.0.192.in-addr.arpa. 60 IN PTR {HOST}."
OKAY = {"receive": "OKAY"}
ASKED = {"request": HOST, "protocol": "udp"}
SENT = {"request": "PING\\n", "receive": "PONG"}
SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
REDIRECTS = "what another page or host answers says nothing about this real server"
GARBAGE = "an answer without a status line is none; LWP takes it for HTTP/0.9, status 200"
HALF = "half a page is no good answer"
LIMIT = "bodies are read to 1 MiB"
SNI = "ldirectord sends no server name"
NO_RECEIVE = "without receive any address or name will do"
DATAGRAM = "a datagram's end ends a line"

HTTP = [
    Case("a page", "http", http(ok(b"any")), True),
    Case("a page that matches", "http", http(ok(b"it is OKAY\n")), True, says=OKAY),
    Case("a page that does not match", "http", http(ok(b"NOT YET")), False, says=OKAY),
    Case("an empty page", "http", http(ok(b"")), False, says=OKAY),
    Case("no content", "http", http(b"HTTP/1.1 204 No Content\r\n\r\n"), True),
    Case("a part of a page", "http", http(b"HTTP/1.1 206 Part\r\n\r\nOKAY"), True, says=OKAY),
    Case("HTTP/1.0", "http", http(b"HTTP/1.0 200 OK\r\n\r\nOKAY"), True, says=OKAY),
    Case(
        *("chunks", "http"),
        http(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nOKAY\r\n0\r\n\r\n"),
        *(True, "", OKAY),
    ),
    Case("interim", "http", http(b"HTTP/1.1 100 Go\r\n\r\n" + ok(b"OKAY")), True, says=OKAY),
    Case("status 404", "http", http(b"HTTP/1.1 404 No\r\n\r\nOKAY"), False, says=OKAY),
    Case("status 503", "http", http(b"HTTP/1.1 503 Busy\r\n\r\nOKAY"), False, says=OKAY),
    Case("status 401", "http", http(b"HTTP/1.1 401 Who\r\n\r\nOKAY"), False, says=OKAY),
    Case("a redirect", "http", by_request, False, REDIRECTS, {"request": "x"}),
    Case("a redirect to nowhere", "http", http(b"HTTP/1.1 302 Found\r\n\r\n"), False),
    Case("a real server's own request", "http", by_request, True, real="there"),
    Case("a whole URL", "http", by_request, True, real="http://127.0.0.1:PORT/there"),
    Case(
        *("a whole URL as the section's request", "http", by_request, True),
        says={"request": "http://127.0.0.1:1/there", "receive": "THERE GET /http:"},
    ),
    Case("a virtualhost", "http", by_host, True, says={"virtualhost": HOST, **OKAY}),
    Case("another virtualhost", "http", by_host, False, says={"virtualhost": "x.test", **OKAY}),
    Case("HEAD", "http", http(b"HTTP/1.1 200 OK\r\n\r\n"), True, says={"httpmethod": "HEAD"}),
    Case(
        *("HEAD and receive", "http", http(b"HTTP/1.1 200 OK\r\n\r\n"), False),
        says={"httpmethod": "HEAD", **OKAY},
    ),
    Case("case does matter", "http", http(ok(b"okay")), False, says=OKAY),
    Case("a flag of Perl's", "http", http(ok(b"okay")), True, says={"receive": "(?i)OKAY"}),
    Case("the start is the body's", "http", http(ok(b"a\nOK")), False, says={"receive": "^OK"}),
    Case("the last newline may follow", "http", http(ok(b"OK\n")), True, says={"receive": "OK$"}),
    Case("a dot is no newline", "http", http(ok(b"a\nb")), False, says={"receive": "a.b"}),
    Case(
        *("a page that ends early", "http"),
        http(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nOKAY"),
        *(False, HALF, OKAY),
    ),
    Case("a huge page", "http", http(ok(b"x" * (3 << 20) + b"OKAY")), False, LIMIT, OKAY),
    Case("no HTTP", "http", saying(SSH), False, GARBAGE),
    Case("closing", "http", closing_at_once, False),
    Case("resetting", "http", resetting, False),
    Case("refusing", "http", "refusing", False),
    Case("silent", "http", silence, False, slow=True),
    Case("dripping", "http", dripping, False, slow=True),
    Case("half a page, then silence", "http", half_a_page, False, HALF, OKAY, slow=True),
    Case("a black hole", "http", "black hole", False, slow=True),
]
PAGE = http(ok(b"OKAY"))
HTTPS = [
    Case("a known authority", "https", PAGE, True, says=OKAY, certificate="good"),
    Case(
        *("the name is not looked at", "https", PAGE, True),
        *("", {"virtualhost": "x.test"}, "", "good"),
    ),
    Case("self-signed", "https", PAGE, False, certificate="self-signed"),
    Case("expired", "https", PAGE, False, certificate="expired"),
    Case("a page that does not match", "https", PAGE, False, says={"receive": "NO"},
         certificate="good"),
    Case("a server that needs SNI", "https", PAGE, True, SNI, {"virtualhost": HOST},
         certificate="good", sni=HOST),
    Case("no TLS", "https", saying(ok(b"OKAY")), False),
    Case("TLS for http", "http", PAGE, False, certificate="good"),
    Case("silent", "https", silence, False, slow=True),
]  # fmt: skip
PROXY = [
    Case("a URL", "http_proxy", by_request, True, says={"request": "http://x.test/there"}),
    Case("closing", "http_proxy", closing_at_once, False, says={"request": "http://x.test/x"}),
    Case(
        *("no URL", "http_proxy", by_request, True),
        "a request that is no URL is one of the proxy's own pages; LWP asks nobody",
        {"request": "there"},
    ),
    Case("no URL, of the real server's own", "http_proxy", by_request, True, real="there"),
]  # fmt: skip
SMTP = [
    Case("EHLO", "smtp", talking("220 mx ESMTP", "250-mx\n250-SIZE 1\n250 HELP"), True),
    Case("HELO", "smtp", talking("220-hello\n220 mx", "502 what?", "250 mx"), True),
    Case("submission", "submission", talking("220 mx", "250 mx"), True),
    Case("bare replies", "smtp", talking("220", "250"), True),
    Case("a greeting of 421", "smtp", talking("421 busy"), False),
    Case("a greeting of 554", "smtp", talking("554 no"), False),
    Case("EHLO refused for now", "smtp", talking("220 mx", "421 busy"), False),
    Case("HELO refused", "smtp", talking("220 mx", "502 what?", "550 no"), False),
    Case("no SMTP", "smtp", saying(SSH), False),
    Case("closing", "smtp", closing_at_once, False),
    Case("resetting", "smtp", resetting, False),
    Case("refusing", "smtp", "refusing", False),
    Case("silent", "smtp", silence, False, slow=True),
    Case("no answer to EHLO", "smtp", talking("220 mx", then=silence), False, slow=True),
    Case("no answer to QUIT", "smtp", talking("220 mx", "250 mx", then=silence), True, slow=True),
]
SIMPLETCP = [
    Case("a line", "simpletcp", echo(b"+PONG %s\r\n"), True, says=SENT),
    Case("the second line", "simpletcp", echo(b"x\nPONG\n"), True, says=SENT),
    Case("a line without its end", "simpletcp", echo(b"x\nPONG"), True, says=SENT),
    Case("two halves in two lines", "simpletcp", echo(b"PO\nNG\n"), False, says=SENT),
    Case("a lone CR ends no line", "simpletcp", echo(b"x\rPONG\n"), False,
         says={"request": "a", "receive": "^PONG"}),
    Case("what was sent", "simpletcp", echo(b"<%s>"), True,
         says={"request": "a\\r\\n", "receive": r"^<a\\r$"}),
    Case("nothing to send", "simpletcp", echo(b"<%s>\n"), True, says={"receive": "<>"}),
    Case("no match", "simpletcp", echo(b"ERR\n"), False, says=SENT),
    Case("closing", "simpletcp", closing_at_once, False, says=SENT),
    Case("refusing", "simpletcp", "refusing", False, says=SENT),
    Case("silent", "simpletcp", silence, False, says=SENT, slow=True),
    Case("no receive", "simpletcp", echo(b"any\n"), True, says={"request": "PING"}),
    Case("no receive, but a newline to send", "simpletcp", echo(b"any\n"), True,
         "no receive is no receive; in Perl an empty pattern is the one that matched last",
         {"request": "PING\\n"}),
    Case("no receive and no answer", "simpletcp", closing_at_once, False,
         says={"request": "PING"}),
    Case("by UDP", "simpletcp", lambda data: [b"PONG " + data], True,
         says={**SENT, "protocol": "udp"}),
    Case("by UDP, no line's end", "simpletcp", lambda _: [b"PONG"], True, DATAGRAM,
         {**SENT, "protocol": "udp"}, slow=True),
]  # fmt: skip
DNS = [
    Case("an address", "dns", zone(A), True, says={**ASKED, "receive": "192.0.2.1"}),
    Case("another address", "dns", zone(A), False, says={**ASKED, "receive": "192.0.2.2"}),
    Case("no receive", "dns", zone(A), True, NO_RECEIVE, ASKED),
    Case("IPv6", "dns", zone(AAAA), True, "AAAA records are looked at",
         {**ASKED, "receive": "2001:"}),
    Case("an alias", "dns", zone(CNAME), True, "CNAME records are looked at",
         {**ASKED, "receive": "^web"}),
    Case("a name", "dns", zone(PTR), True,
         says={**ASKED, "request": "192.0.2.1", "receive": f"^{HOST}$"}),
    Case("no such name", "dns", zone(code=dns.rcode.NXDOMAIN), False,
         says={**ASKED, "receive": "."}),
    Case("SERVFAIL", "dns", zone(code=dns.rcode.SERVFAIL), False,
         says={**ASKED, "receive": "."}, slow=True),
    Case("SERVFAIL with a record", "dns", zone(A, code=dns.rcode.SERVFAIL), False,
         "the server says itself that it failed", {**ASKED, "receive": "."}),
    Case("REFUSED", "dns", zone(code=dns.rcode.REFUSED), False,
         says={**ASKED, "receive": "."}, slow=True),
    Case("by TCP", "dns", by_tcp(zone(A)), True,
         says={"request": HOST, "protocol": "tcp", "receive": "192"}),
    Case("no DNS", "dns", lambda _: [b"PONG"], False, says={**ASKED, "receive": "."}, slow=True),
    Case("silent", "dns", lambda _: [], False, says={**ASKED, "receive": "."}, slow=True),
    Case("refusing", "dns", "refusing", False, says={**ASKED, "receive": "."}, slow=True),
]  # fmt: skip
CASES = [*HTTP, *HTTPS, *PROXY, *SMTP, *SIMPLETCP, *DNS]
