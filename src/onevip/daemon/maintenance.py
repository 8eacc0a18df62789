"""maintenancedir: which real servers somebody has taken out by a file of their name.

The directory is read, and names are looked up, in threads: a hanging file system or resolver
holds up no check. Decides nothing about the table.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onevip.daemon.events import Row
from onevip.daemon.threads import in_thread
from onevip.model import Configuration, ConfiguredRealServer

log = logging.getLogger(__name__)

#: How long an address's name is believed, and that it has none.
KNOWN_S = 600.0
UNKNOWN_S = 60.0
#: Look-ups under way at once; each may take a resolver's many seconds.
LOOKUPS = 8
_SHORT = re.compile(r"([a-z][a-z0-9-]+)\.")
_ADDRESS = re.compile(r"([0-9.]+|\[.*\])(:[0-9]+)?")  # a file that names no host

#: Address → its name, "" when it has none. May block.
Reverse = Callable[[str], str]


def reverse(address: str) -> str:
    """The name of an address by the system's resolver."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):
        return ""


@dataclass(frozen=True, slots=True)
class _Name:
    text: str
    until: float


class Maintenance:
    """What lies in the directory, and whom it names. `look` once a second."""

    def __init__(
        self, reverse: Reverse = reverse, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reverse = reverse
        self._clock = clock
        self._files: frozenset[str] = frozenset()
        self._names: dict[str, _Name] = {}
        self._looking_up: asyncio.Task[None] | None = None
        self._complaint = ""

    async def look(self, configuration: Configuration) -> None:
        """Read the directory; begin to look up the names that it may take."""
        directory = configuration.maintenance_dir
        self._files = await in_thread(lambda: self._read(directory)) if directory else frozenset()
        self._look_up(configuration)

    def rows(self, configuration: Configuration) -> dict[Row, str]:
        """Who is in maintenance, by the files as last read: the name of the file of each row."""
        if not self._files:
            return {}
        return {
            (service.key, server.real.key): name
            for service in configuration.services
            for server in service.real_servers
            if (name := next(filter(self._files.__contains__, self._names_of(server)), None))
        }

    async def close(self) -> None:
        """End all look-ups."""
        if self._looking_up:
            self._looking_up.cancel()
            await asyncio.gather(self._looking_up, return_exceptions=True)

    def _read(self, directory: str) -> frozenset[str]:
        complaint, files = "", frozenset[str]()
        try:
            with os.scandir(directory) as entries:
                files = frozenset(entry.name for entry in entries)
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            complaint = f"maintenancedir {directory}: {words.lower()}: nobody is in maintenance"
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
        return files

    def _names_of(self, server: ConfiguredRealServer) -> Iterator[str]:
        """The names that its file may have, ldirectord's order (spec ldirectord §6)."""
        address, port = server.real.address, server.real.port
        yield from _with_port(f"[{address}]" if address.version == 6 else str(address), port)
        found = self._names.get(str(address))
        for host in filter(None, (server.host, found.text if found else "")):
            yield from _with_port(host, port)
            if short := _SHORT.match(host):
                yield from _with_port(short[1], port)

    def _look_up(self, configuration: Configuration) -> None:
        """Names are of interest only while a file is there that may be one of them."""
        is_busy = self._looking_up is not None and not self._looking_up.done()
        if is_busy or all(_ADDRESS.fullmatch(name) for name in self._files):
            return
        now = self._clock()
        addresses = dict.fromkeys(
            str(server.real.address)
            for service in configuration.services
            for server in service.real_servers
        )
        needed = [a for a in addresses if a not in self._names or self._names[a].until <= now]
        if needed:
            self._looking_up = asyncio.create_task(self._find_all(needed))

    async def _find_all(self, addresses: list[str]) -> None:
        limit = asyncio.Semaphore(LOOKUPS)

        async def find(address: str) -> None:
            async with limit:
                name = (await in_thread(lambda: self._reverse(address))).rstrip(".")
            until = self._clock() + (KNOWN_S if name else UNKNOWN_S)
            self._names[address] = _Name(name, until)

        await asyncio.gather(*map(find, addresses))


def _with_port(host: str, port: int) -> Iterator[str]:
    yield f"{host}:{port}"
    yield host
