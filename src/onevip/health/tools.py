"""What every probe is given beside its check: how to reach the server, how to match a text."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onevip.health import by_vip
from onevip.model import Check, Outcome

#: Pattern, text → whether it is found anywhere in it. Raises matcher.TooSlow.
Search = Callable[[str, bytes], Awaitable[bool]]
#: Check → the mark (SO_MARK) that sends its packets along `Check.path`; 0: the common way.
MarkOf = Callable[[Check], int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def no_mark(_: Check) -> int:
    """For checks that all take the common way."""
    return 0


@dataclass(frozen=True, slots=True)
class Tools:
    """Handed to every probe by the prober."""

    search: Search
    mark_of: MarkOf = no_mark

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
            return await asyncio.open_connection(
                sock=connected, ssl=tls, server_hostname=(server_name or "") if tls else None
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
        except BaseException:
            made.close()
            raise
        return made


#: One attempt. Has no time limit of its own and may raise OSError, ssl.SSLError: see prober.
Probe = Callable[[Check, Tools], Awaitable[Outcome]]
