"""dns: what is asked, which answers count, and why the others do not."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from onevip.health.conversation import Unhealthy
from onevip.health.probes.dns import read
from onevip.model import Outcome, Protocol
from scripted import answering, check, found, serving, tried

NAME = "www.example.test"
ADDRESS = f"{NAME}. 60 IN A 192.0.2.1"
SIX = f"{NAME}. 60 IN AAAA 2001:db8::1"
ALIAS = f"{NAME}. 60 IN CNAME web.example.test."
REVERSE = "1.2.0.192.in-addr.arpa. 60 IN PTR www.example.test."
Zone = Callable[[dns.message.Message], dns.message.Message]


def zone(*records: str, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> Zone:
    """Answers with those records that have the type asked for; CNAME fits every type."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        made.set_rcode(code)
        asked = query.question[0].rdtype
        for record in records:
            rrset = dns.rrset.from_text(*record.split(maxsplit=4))
            if rrset.rdtype in {asked, dns.rdatatype.CNAME}:
                made.answer.append(rrset)
        return made

    return answer


def outcome(by: Zone, receive: str = "", request: str = NAME, timeout_s: float = 5) -> Outcome:
    server = answering(lambda wire: [by(dns.message.from_wire(wire)).to_wire()])
    details = {"request": "/" + request, "receive": receive, "protocol": Protocol.UDP}
    return found("dns", server, timeout_s, **details)


@pytest.mark.parametrize(
    ("records", "receive", "request_", "reason"),
    [
        ([ADDRESS], "", NAME, "answered 192.0.2.1"),
        ([ADDRESS], r"^192\.0\.2\.1$", NAME, "answered 192.0.2.1"),
        ([ADDRESS, f"{NAME}. 60 IN A 192.0.2.7"], r"\.7", NAME + ".", "answered 192.0.2.7"),
        ([SIX], "", NAME, "answered 2001:db8::1"),
        ([ADDRESS, SIX], "^2001:db8::", NAME, "answered 2001:db8::1"),
        ([ALIAS], r"web\.example\.test$", NAME, "answered web.example.test"),
        ([REVERSE], r"^www\.example\.test$", "192.0.2.1", f"answered {NAME}"),
    ],
)
def test_a_record_that_matches_is_up(records, receive, request_, reason):
    assert outcome(zone(*records), receive, request_) == Outcome(True, reason)


def test_an_address_of_version_6_is_asked_for_by_its_name():
    name = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa."
    by = zone(f"{name} 60 IN PTR {NAME}.")
    assert outcome(by, NAME, "2001:db8::1") == Outcome(True, f"answered {NAME}")


@pytest.mark.parametrize(
    ("by", "receive", "reason"),
    [
        (zone(), "", "the answer holds no record that was asked for"),
        (zone(ADDRESS, SIX), "192.9", "no answer matches /192.9/: 192.0.2.1, 2001:db8::1"),
        (zone(code=dns.rcode.NXDOMAIN), "", "NXDOMAIN: the server knows no such name"),
        (zone(ADDRESS, code=dns.rcode.SERVFAIL), "", "SERVFAIL: the server failed to answer"),
        (zone(ADDRESS, code=dns.rcode.REFUSED), "", "REFUSED: the server does not answer us"),
        (zone(code=dns.rcode.YXRRSET), "", "YXRRSET"),
        (
            zone(f"{NAME}. 60 IN CNAME {'1.' * 40}example.test."),
            "([0-9.]+)+x",
            "matching /([0-9.]+)+x/ takes more than 0.2 s: the pattern backtracks",
        ),
    ],
)
def test_what_is_down_and_why(by, receive, reason):
    assert outcome(by, receive) == Outcome(False, reason)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("", "request= gives no name to ask for"),
        ("a..b", "request=a..b is no domain name: "),
        ("a" * 64, f"request={'a' * 64} is no domain name: "),
        ("\udcff", "request=? is no domain name: "),
    ],
)
def test_a_request_that_is_no_name_says_so(request_, reason):
    refused = outcome(zone(ADDRESS), "", request_)
    assert not refused.healthy
    assert refused.reason.startswith(reason)


def test_only_the_answer_to_the_question_counts():
    """Other ids, other questions and queries are passed over."""

    def answer(wire: bytes) -> list[bytes]:
        query = dns.message.from_wire(wire)
        other = dns.message.make_query(NAME, "A")
        other.id = query.id ^ 1
        elsewhere = dns.message.make_query("other.example.test", "A")
        elsewhere.id = query.id
        wrong = zone(f"{NAME}. 60 IN A 192.0.2.66")
        return [
            b"",
            b"\xff" * 40,
            wire,  # an echo
            wrong(other).to_wire(),
            zone("other.example.test. 60 IN A 192.0.2.66")(elsewhere).to_wire(),
            zone(ADDRESS)(query).to_wire(),
        ]

    details = {"request": "/" + NAME, "protocol": Protocol.UDP}
    assert found("dns", answering(answer), **details) == Outcome(True, "answered 192.0.2.1")
    assert found("dns", answering(lambda wire: answer(wire)[:5]), 0.2, **details) == Outcome(
        False, "timed out after 0.2 s"
    )


def test_an_answer_from_another_port_does_not_count():
    async def run() -> Outcome:
        loop = asyncio.get_running_loop()
        other, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )

        class Elsewhere(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                other.sendto(zone(ADDRESS)(dns.message.from_wire(data)).to_wire(), addr)

        server, _ = await loop.create_datagram_endpoint(Elsewhere, local_addr=("127.0.0.1", 0))
        port = server.get_extra_info("sockname")[1]
        details = {"request": "/" + NAME, "protocol": Protocol.UDP}
        try:
            return await tried(check("dns", port, 0.2, **details))
        finally:
            server.close()
            other.close()

    assert asyncio.run(run()) == Outcome(False, "timed out after 0.2 s")


def test_a_storm_of_strange_datagrams_ends():
    details = {"request": "/" + NAME, "protocol": Protocol.UDP}
    flooded = found("dns", answering(lambda _: [b"x" * 20] * 200), **details)
    assert flooded == Outcome(False, "100 datagrams, none of which answers the query")


def test_a_query_that_was_lost_is_sent_again(monkeypatch):
    monkeypatch.setattr("onevip.health.probes.dns.RESEND_S", 0.05)
    heard = []

    def answer(wire: bytes) -> list[bytes]:
        heard.append(wire)
        return [zone(ADDRESS)(dns.message.from_wire(wire)).to_wire()] if len(heard) == 3 else []

    details = {"request": "/" + NAME, "protocol": Protocol.UDP}
    assert found("dns", answering(answer), **details).healthy
    assert heard == [heard[0]] * 3
    assert dns.message.from_wire(heard[0]).flags & dns.flags.RD


def by_tcp(by: Zone):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = by(dns.message.from_wire(await reader.readexactly(length))).to_wire()
            writer.write(struct.pack("!H", len(answer)) + answer)

    return serve


def test_protocol_tcp_asks_by_tcp():
    details = {"request": "/" + NAME, "receive": "^192", "protocol": Protocol.TCP}
    assert found("dns", serving(by_tcp(zone(ADDRESS))), **details).healthy


def test_an_answer_too_long_for_a_datagram_is_fetched_by_tcp():
    def truncated(query: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(query)
        made.flags |= dns.flags.TC
        return made

    async def run() -> Outcome:
        async with serving(by_tcp(zone(ADDRESS))) as port:
            loop = asyncio.get_running_loop()

            class Short(asyncio.DatagramProtocol):
                def connection_made(self, transport):
                    self.transport = transport

                def datagram_received(self, data, addr):
                    self.transport.sendto(truncated(dns.message.from_wire(data)).to_wire(), addr)

            server, _ = await loop.create_datagram_endpoint(Short, local_addr=("127.0.0.1", port))
            try:
                details = {"request": "/" + NAME, "protocol": Protocol.UDP}
                return await tried(check("dns", port, **details))
            finally:
                server.close()

    assert asyncio.run(run()) == Outcome(True, "answered 192.0.2.1")


def test_an_answer_by_tcp_that_ends_early_or_is_another_is_down():
    details = {"request": "/" + NAME, "protocol": Protocol.TCP}

    def changed(query: dns.message.Message) -> dns.message.Message:
        made = zone(ADDRESS)(query)
        made.id ^= 1
        return made

    other = found("dns", serving(by_tcp(changed)), **details)
    assert other.reason == "the server answers another query than the one it was asked"

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\0\x40abc")

    early = found("dns", serving(half), **details)
    assert early.reason == "the server closed the connection before it answered"


def test_whatever_comes_is_a_message_or_a_reason():
    """What dnspython raises for spoilt messages is known."""
    dice = random.Random(4)
    query = dns.message.make_query(NAME, "A")
    good = zone(ADDRESS, ALIAS)(query).to_wire()
    refused = 0
    for _ in range(3000):
        wire = bytearray(good[: dice.randrange(len(good))] if dice.random() < 0.3 else good)
        for _ in range(dice.randrange(1, 6)):
            if wire:
                wire[dice.randrange(len(wire))] = dice.randrange(256)
        try:
            read(bytes(wire))
        except Unhealthy:
            refused += 1
    assert refused > 100
