"""`service=dns`: an answer without error that holds a record which matches receive.

Asks for the addresses (A) of the request, for the name (PTR) when the request is an address. When
no A record is right, the AAAA records are asked for too: ldirectord knows none. Without receive
any address or name will do; there such a server was always down. The request is a full name:
the director's own search list says nothing about the real server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
from dns.rdatatype import RdataType

from onevip.health.conversation import CLOSED_EARLY, Unhealthy, matches
from onevip.health.tools import Tools
from onevip.model import Check, Outcome, Protocol

#: A datagram may be lost; RFC 1035 §4.2.1 wants 2 to 5 s between two tries.
RESEND_S = 2.0
MAX_ANSWER = 1 << 16
#: Datagrams that answer something else, or nothing, before this gives up.
MAX_STRANGERS = 100
_LENGTH = struct.Struct("!H")
_IN_WORDS = {
    dns.rcode.FORMERR: "FORMERR: the server does not understand the query",
    dns.rcode.SERVFAIL: "SERVFAIL: the server failed to answer",
    dns.rcode.NXDOMAIN: "NXDOMAIN: the server knows no such name",
    dns.rcode.NOTIMP: "NOTIMP: the server does not know such queries",
    dns.rcode.REFUSED: "REFUSED: the server does not answer us",
}
_LOOKED_AT = {RdataType.A, RdataType.AAAA, RdataType.PTR, RdataType.CNAME}

Exchange = Callable[[Check, Tools, dns.message.Message], Awaitable[dns.message.Message]]


async def probe(check: Check, tools: Tools) -> Outcome:
    name, kinds = asked(check.request.removeprefix("/"))
    by: Exchange = _by_tcp if check.protocol is Protocol.TCP else _by_udp
    seen: list[str] = []
    for kind in kinds:
        answer = await by(check, tools, dns.message.make_query(name, kind))
        if answer.rcode() != dns.rcode.NOERROR:
            code = answer.rcode()
            raise Unhealthy(_IN_WORDS.get(code, dns.rcode.to_text(code)))
        found = texts(answer)
        for text in found:
            if not check.receive or await matches(check, tools, text.encode()):
                return Outcome(True, f"answered {text}")
        seen += [text for text in found if text not in seen]
    if seen:
        raise Unhealthy(f"no answer matches /{check.receive}/: {', '.join(seen)}")
    raise Unhealthy("the answer holds no record that was asked for")


def asked(request: str) -> tuple[dns.name.Name, tuple[RdataType, ...]]:
    """The name to ask for, and which records of it. Raises Unhealthy."""
    if not request:
        raise Unhealthy("request= gives no name to ask for")
    try:
        ip_address(request)
    except ValueError:
        try:
            return dns.name.from_text(request), (RdataType.A, RdataType.AAAA)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise Unhealthy(f"request={request} is no domain name: {error}") from error
    return dns.reversename.from_address(request), (RdataType.PTR,)


def texts(answer: dns.message.Message) -> list[str]:
    """The addresses and names that an answer gives, names without their last dot."""
    return [
        rdata.to_text().removesuffix(".")
        for rrset in answer.answer
        if rrset.rdtype in _LOOKED_AT
        for rdata in rrset
    ]


async def _by_udp(check: Check, tools: Tools, query: dns.message.Message) -> dns.message.Message:
    """The answer to this query; by TCP when it is longer than a datagram."""
    loop = asyncio.get_running_loop()
    # Connected: only datagrams from this address and port come in, and a closed port is heard of.
    with tools.socket(check, socket.SOCK_DGRAM) as connected:
        await loop.sock_connect(connected, (str(check.address), check.port))
        while True:
            await loop.sock_sendall(connected, query.to_wire())
            try:
                async with asyncio.timeout(RESEND_S) as limit:
                    answer = await _heard(connected, query)
            except TimeoutError:
                if not limit.expired():
                    raise
                continue
            break
    if answer.flags & dns.flags.TC:
        return await _by_tcp(check, tools, query)
    return answer


async def _heard(connected: socket.socket, query: dns.message.Message) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    for _ in range(MAX_STRANGERS):
        wire = await loop.sock_recv(connected, MAX_ANSWER)
        if wire[:2] == _LENGTH.pack(query.id):
            answer = read(wire)
            if query.is_response(answer):
                return answer
    raise Unhealthy(f"{MAX_STRANGERS} datagrams, none of which answers the query")


async def _by_tcp(check: Check, tools: Tools, query: dns.message.Message) -> dns.message.Message:
    reader, writer = await tools.connect(check)
    try:
        wire = query.to_wire()
        writer.write(_LENGTH.pack(len(wire)) + wire)
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        answer = read(await reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        raise Unhealthy(CLOSED_EARLY) from error
    finally:
        writer.transport.abort()
    if not query.is_response(answer):
        raise Unhealthy("the server answers another query than the one it was asked")
    return answer


def read(wire: bytes) -> dns.message.Message:
    """Raises Unhealthy."""
    try:
        return dns.message.from_wire(wire, ignore_trailing=True, raise_on_truncation=False)
    except dns.exception.DNSException as error:
        raise Unhealthy(f"not a good DNS answer: {error}") from error
