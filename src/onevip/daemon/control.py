"""The daemon answers questions on a unix socket: one JSON object a line, see docs/control.md.

Whatever a peer does, the loop goes on: lines, answers, peers and time are limited, and answering
takes no more than a part of the time. Only root and the daemon's own user are answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onevip.daemon.socket_files import SocketFiles
from onevip.model import OnevipError

log = logging.getLogger(__name__)

VERSION = 1
MAX_REQUEST = 4096  # bytes of a line
MAX_PEERS = 16
#: So long a peer may take to ask, and to take its answer in.
PATIENCE_S = 10.0
#: After each answer the next one waits so many times as long as this one took.
REST = 4
SHORTEST_S = 0.0005
LONGEST_REST_S = 1.0

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Refused(OnevipError):
    """A request that is not answered, and why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What answers, under its own name. Raises OnevipError for a refusal in words.

    `waits`: for something else than its own work, so that others are answered meanwhile.
    """

    answer: Callable[[], Awaitable[object]]
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, by the kernel's word."""

    pid: int
    uid: int

    @classmethod
    def of(cls, connected: socket.socket) -> Peer:
        raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return cls(pid, uid)

    @property
    def is_trusted(self) -> bool:
        return self.uid in (0, os.geteuid())

    def __str__(self) -> str:
        return f"pid {self.pid}, uid {self.uid}"


class Control:
    """The control socket of one daemon. Without one the daemon runs, too: then it says so."""

    def __init__(
        self,
        directory: Path,
        name: str,
        commands: Mapping[str, Command],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._files = SocketFiles(directory, name)
        self._commands = commands
        self._sleep = sleep
        self._clock = clock
        self._spent = spent
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._rested_at = 0.0
        self._complaint = ""

    async def start(self) -> None:
        """Listen."""
        try:
            bound = self._files.bind()
        except OSError as error:
            log.warning("onevip status will not be answered: control socket: %s", error.strerror)
            return
        self._server = await asyncio.start_unix_server(self._met, sock=bound, limit=MAX_REQUEST)
        self.hold()

    def hold(self) -> None:
        """Once a second: become `control.sock` when no other daemon is it."""
        if self._server is None:
            return
        complaint = ""
        try:
            self._files.hold()
        except OSError as error:
            complaint = f"control.sock cannot be taken: {error.strerror}"
        if complaint and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint

    async def close(self) -> None:
        """End all conversations and take the socket away."""
        if self._server is None:
            return
        self._server.close()
        peers = list(self._peers)
        for peer in peers:
            peer.cancel()
        await asyncio.gather(*peers, return_exceptions=True)
        self._files.remove()
        self._server = None

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._peers.add(task)
        task.add_done_callback(self._peers.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer = Peer.of(writer.get_extra_info("socket"))
            if problem := self._refusal(peer):
                log.warning("control: %s: %s", peer, problem)
                await _send(writer, _error(problem))
                return
            is_first = True
            while line := await _line(reader):
                answer, said = await self._answer(line)
                if is_first or said != "status":
                    log.info("control: %s: %s", peer, said)
                is_first = False
                await _send(writer, answer)
        except Refused as problem:
            await _send(writer, _error(str(problem)))
        except OSError:  # TimeoutError, too: it went away, or did not take its answer in
            pass
        except Exception:
            log.exception("control: a conversation ended")
        finally:
            writer.transport.abort()

    def _refusal(self, peer: Peer) -> str:
        if not peer.is_trusted:
            return "only root and the daemon's own user are answered"
        return "too many conversations at once" if len(self._peers) > MAX_PEERS else ""

    async def _answer(self, line: bytes) -> tuple[bytes, str]:
        """The answer, and what was asked in words."""
        try:
            name = _asked(line)
            command = self._commands.get(name)
            if command is None:
                known = ", ".join(self._commands)
                raise Refused(f"there is no command {name[:40]!r}, but {known}")
            result = await (command.answer() if command.waits else self._in_turn(command))
        except OnevipError as problem:
            await self._in_turn(None)
            return _error(str(problem)), f"refused: {problem}"
        return _line_of({"ok": True, name: result}), name

    async def _in_turn(self, command: Command | None) -> object:
        """One after another, with rests, so that no number of questions fills the time."""
        async with self._turn:
            await self._sleep(self._rested_at - self._clock())
            began_s = self._spent()
            try:
                return await command.answer() if command else None
            finally:
                spent_s = max(self._spent() - began_s, SHORTEST_S)
                self._rested_at = self._clock() + min(REST * spent_s, LONGEST_REST_S)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end. Raises Refused, TimeoutError, OSError."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.readline()
    except ValueError:
        raise Refused(f"a request is a line of at most {MAX_REQUEST} bytes") from None


async def _send(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Until the peer has taken in what does not fit the kernel's buffer."""
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(answer)
    async with asyncio.timeout(PATIENCE_S):
        await writer.drain()


def _asked(line: bytes) -> str:
    """The command of a request. Raises Refused."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Refused("a request is one JSON object in a line of UTF-8") from None
    if not isinstance(request, dict):
        raise Refused("a request is one JSON object in a line of UTF-8")
    if request.get("version") != VERSION:
        raise Refused(f"version {str(request.get('version'))[:20]!r} is not spoken: say {VERSION}")
    return str(request.get("command", ""))


def _error(words: str) -> bytes:
    return _line_of({"ok": False, "error": words})


def _line_of(answer: Mapping[str, object]) -> bytes:
    return json.dumps({"version": VERSION, **answer}).encode() + b"\n"
