"""What the checks of real servers cost: CPU seconds of a thousand, each on a new connection.

The floor of a case is as many bare connects. The servers are one other process, whose CPU does not
count; half a hundred checks are under way at a time. Needs no privilege, but openssl.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import cast

import dns.message
import dns.rrset

from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Protocol, Tls

AT_ONCE = 50
CHECKS = 1000
ROUNDS = 5
LOCAL = "127.0.0.1"
NAME = "www.example.test"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nOKAY\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):  # a bare connect
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
    writer.close()


async def mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mx.example.test ESMTP\r\n")
    while line := await reader.readline():
        writer.write(
            b"250-mx.example.test\r\n250 8BITMIME\r\n" if line[:1] == b"E" else b"221 \r\n"
        )
    writer.close()


class Names(asyncio.DatagramProtocol):
    """Answers every query with one address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.answer.append(dns.rrset.from_text(NAME + ".", 60, "IN", "A", "192.0.2.1"))
        self.transport.sendto(answer.to_wire(), addr)


async def serve(pem: str) -> None:
    """Print the ports of web, web with TLS, mail, names; serve until the input ends."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    made = ((web, None), (web, tls), (mail, None))
    servers = [
        await asyncio.start_server(each, LOCAL, 0, ssl=context, backlog=1024)
        for each, context in made
    ]
    names, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Names, local_addr=(LOCAL, 0)
    )
    listening = [*(server.sockets[0] for server in servers), names.get_extra_info("socket")]
    print(*(one.getsockname()[1] for one in listening), flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def servers(directory: Path) -> Iterator[dict[str, Check]]:
    """The checks of what another process serves, by name."""
    pem = directory / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", f"/CN={NAME}", "-keyout", pem, "-out", directory / "ca.pem"),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(pem.read_text() + (directory / "ca.pem").read_text())
    argv = [sys.executable, "-m", "benchmarks.protocols", str(pem)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        plain, secure, mails, names = map(int, process.stdout.readline().split())
        http = replace(_check("http", plain), receive="OKAY")
        yield {
            "connect": Check(CheckType.CONNECT, IPv4Address(LOCAL), plain, 5, 10),
            "http": http,
            "http, receive with .*": replace(http, receive="O.*Y"),
            "https": replace(
                http, port=secure, service="https", tls=Tls(ca_file=str(directory / "ca.pem"))
            ),
            "smtp": _check("smtp", mails),
            "dns": replace(_check("dns", names), request="/" + NAME, protocol=Protocol.UDP),
        }


def _check(service: str, port: int) -> Check:
    return Check(CheckType.NEGOTIATE, IPv4Address(LOCAL), port, 5, 10, service=service)


async def seconds(check: Check, number: int) -> float:
    """CPU of this process for so many probes. Raises BenchmarkError when one fails."""
    matcher = Matcher()
    tools = Tools(matcher.search)
    name = check.probes[-1]
    left = iter(range(number))

    async def one_after_another() -> None:
        for _ in left:
            outcome = await attempt(check, name, PROBES, tools)
            if not outcome.healthy:
                raise BenchmarkError(f"{name}: {outcome.reason}")

    await attempt(check, name, PROBES, tools)  # makes what is made once
    started = time.process_time()
    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    used = time.process_time() - started
    await matcher.close()
    return used * CHECKS / number


def run(options: Options) -> list[Result]:
    """CPU seconds for a thousand, the median of some rounds; `ratio`: the median of theirs."""
    rounds, number = (1, 200) if options.quick else (ROUNDS, CHECKS)
    with tempfile.TemporaryDirectory() as directory, servers(Path(directory)) as checks:
        bare = checks.pop("connect")
        return [
            measured(f"1000 checks, {name}", check, bare, rounds, number)
            for name, check in checks.items()
            if options.wants(f"1000 checks, {name}")
        ]


def measured(name: str, check: Check, bare: Check, rounds: int, number: int) -> Result:
    """Check and bare connect by turns, so that a busy machine slows both."""
    pairs = [
        (asyncio.run(seconds(bare, number)), asyncio.run(seconds(check, number)))
        for _ in range(rounds)
    ]
    floors, works = zip(*pairs, strict=True)
    ratio = median(work / floor for floor, work in pairs)
    return Result(name, median(works), "s", median(floors), ratio)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
