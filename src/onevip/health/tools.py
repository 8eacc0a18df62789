"""What every probe is given beside its check: how to reach the server, how to match a text."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from onevip.health import by_vip
from onevip.health.echoes import Echoes
from onevip.health.limit import Limit
from onevip.health.programs import Programs
from onevip.health.tls import Contexts
from onevip.health.untried import CouldNotTry
from onevip.model import Check, Outcome

T = TypeVar("T")

#: Pattern, text → whether it is found anywhere in it. Raises matcher.TooSlow.
Search = Callable[[str, bytes], Awaitable[bool]]
#: Check → the mark (SO_MARK) that sends its packets along `Check.path`; 0: the common way.
MarkOf = Callable[[Check], int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Descriptors that stay free for everything but probes: maps, logs, pipes.
RESERVED_DESCRIPTORS = 200
DESCRIPTORS_OF_A_PROBE = 2
MAX_AT_ONCE = 1 << 16


def no_mark(_: Check) -> int:
    """For checks that all take the common way."""
    return 0


def _places() -> asyncio.Semaphore:
    """As many as this process may have probes going at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return asyncio.Semaphore(MAX_AT_ONCE)
    affordable = max(soft // 2, soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_OF_A_PROBE
    return asyncio.Semaphore(min(MAX_AT_ONCE, affordable))


@dataclass(frozen=True, slots=True)
class Tools:
    """Handed to every probe by the prober. Whoever made it closes it."""

    search: Search
    mark_of: MarkOf = no_mark
    contexts: Contexts = field(default_factory=Contexts)
    programs: Programs = field(default_factory=Programs)
    echoes: Echoes = field(default_factory=Echoes)
    places: asyncio.Semaphore = field(default_factory=_places)
    limit: Limit | None = None  # of the attempt that they are for

    def within(self, limit: Limit) -> Tools:
        """The same for one attempt: searching takes nothing of the server's time."""

        async def search(pattern: str, text: bytes) -> bool:
            return await limit.paused(self.search(pattern, text))

        return replace(self, search=search, limit=limit)

    async def untimed(self, ours: Awaitable[T]) -> T:
        """Await what is the director's own affair; the time limit stands still meanwhile."""
        return await (self.limit.paused(ours) if self.limit else ours)

    async def close(self) -> None:
        """End the programs that still run."""
        self.echoes.close()
        await self.programs.close()

    async def connect(
        self, check: Check, *, tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> Streams:
        """A TCP connection to the checked port, `tls` around it when given. Raises OSError.

        `server_name` is sent as SNI. The caller aborts the transport when it is done.
        """
        loop = asyncio.get_running_loop()
        connected = self.socket(check, socket.SOCK_STREAM)
        try:
            await loop.sock_connect(connected, (str(check.address), check.port))
            if tls is None:
                return await asyncio.open_connection(sock=connected)
            return await asyncio.open_connection(
                sock=connected,
                ssl=tls,
                server_hostname=server_name or "",
                # asyncio's own limit is a minute; the prober's comes before this one.
                ssl_handshake_timeout=check.negotiate_timeout_s + 1,
            )
        except BaseException:
            connected.close()
            raise

    def socket(self, check: Check, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A non-blocking socket of the server's family whose packets take the check's way."""
        family = socket.AF_INET6 if check.address.version == 6 else socket.AF_INET
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            if check.path and (mark := self.mark_of(check)):
                by_vip.prepare(made, mark, check.path)
        except PermissionError as error:
            made.close()
            raise CouldNotTry("checkpath=vip needs CAP_NET_ADMIN: run as root") from error
        except BaseException:
            made.close()
            raise
        return made


#: One attempt. Has no time limit of its own and may raise OSError, OnevipError: see prober.
Probe = Callable[[Check, Tools], Awaitable[Outcome]]
