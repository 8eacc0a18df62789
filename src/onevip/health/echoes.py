"""Asks for ICMP echoes and hands each answer to who asked: one socket a family for all of them.

A socket for each ping would cost twice the CPU time, and the kernel copies every ICMP message to
every raw socket.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from onevip.health import icmp
from onevip.health.untried import CouldNotTry
from onevip.model import OnevipError

_TOKEN = struct.Struct("!QQ")  # nonce of this process, number of the request
_SO_ATTACH_FILTER = 26
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
#: A request to a host that does not answer ARP stays in the sending buffer for three seconds, a
#: kilobyte each; thousands of dead servers must leave room for those that live.
BUFFER_SIZE = 8 << 20
#: Answers taken in one turn of the loop.
BURST = 64


class Unreachable(OnevipError):
    """The network answered in the server's stead; its text is the reason."""


class Echoes:
    """Opens its sockets when it first needs them."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}

    async def ask(self, address: IPv4Address | IPv6Address, mark: int = 0) -> None:
        """Send one echo request, return when it is answered. Has no time limit.

        `mark`: of its packet. Raises Unreachable, OSError, CouldNotTry.
        """
        line = self._lines.get(address.version)
        if line is None:
            line = self._lines[address.version] = _Line(address.version)
        await line.ask(str(address), mark)

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()


class _Line:
    """The raw socket of one family."""

    def __init__(self, version: int) -> None:
        self._family = icmp.V6 if version == 6 else icmp.V4
        self._identifier = secrets.randbits(16)
        self._nonce = secrets.randbits(64)
        self._count = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._socket = _open(version)
        try:
            _let_in_only_answers(self._socket, self._family, self._identifier)
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
        except BaseException:
            self._socket.close()
            raise

    async def ask(self, address: str, mark: int) -> None:
        self._count += 1
        number = self._count
        token = _TOKEN.pack(self._nonce, number)
        request = icmp.request(self._family, self._identifier, number, token)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if mark:
                marked = (socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
                self._socket.sendmsg([request], [marked], 0, (address, 0))
            else:
                self._socket.sendto(request, (address, 0))
            await answered
        finally:
            del self._waiting[number]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(BURST):
            try:
                message, sender = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            if answer := icmp.answer(self._family, message):
                self._heard(answer, sender[0])

    def _heard(self, answer: icmp.Answer, sender: str) -> None:
        if len(answer.data) < _TOKEN.size:  # a quotation that is too short to prove anything
            return
        nonce, number = _TOKEN.unpack_from(answer.data)
        answered = self._waiting.get(number)
        if nonce != self._nonce or answered is None or answered.done():
            return
        if answer.error:
            answered.set_exception(Unreachable(f"{answer.error} (says {sender})"))
        else:
            answered.set_result(None)


def _open(version: int) -> socket.socket:
    try:
        if version == 6:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        else:
            opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError as error:
        raise CouldNotTry(
            "pings need CAP_NET_RAW: run the director as root, or give it that capability"
        ) from error
    opened.setblocking(False)
    for forced, common in (
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
    ):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, BUFFER_SIZE)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, common, BUFFER_SIZE)
    return opened


def _let_in_only_answers(opened: socket.socket, family: icmp.Family, identifier: int) -> None:
    instructions = icmp.only_answers_to(family, identifier)
    where, size = instructions.buffer_info()
    # struct sock_fprog: the kernel copies what it points to.
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", size // 8, where))
