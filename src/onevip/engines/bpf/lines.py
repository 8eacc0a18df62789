"""Slots of connections as lines of text, a million in about a second. Reads no table.

Nothing is decoded one by one that many connections share: a line is its head (protocol, state,
time left), its client, and its tail (VIP, real server), and heads and tails are kept.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from onevip.engines.base import LineFormat
from onevip.engines.bpf.codec import MAPPED
from onevip.engines.bpf.slots import ACTIVE, TIMED, Reals, Sort, Times, state_name, turned
from onevip.model import Protocol

TURNED_TIMED = turned(TIMED)
LONGEST = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]65535")

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(dict[Key, Value], Generic[Key, Value]):
    """Answers by question; each is made once."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make

    def __missing__(self, key: Key) -> Value:
        value = self[key] = self._make(key)
        return value


class LineWriter:
    """Writes lines of one format. `follow` it tells when the clock or the names have changed."""

    def __init__(self, form: LineFormat, times: Times) -> None:
        self._form = form
        self._times = times
        self._reals: Reals | None = None
        self._now: int | None = None
        self._heads: Kept[Protocol, Kept[int, str]] = Kept(
            lambda protocol: Kept(functools.partial(self._head, protocol))
        )
        self._tails: Kept[Sort, Kept[tuple[bytes, bytes], tuple[Kept[int, str], str]]]
        # Strings from tables: twice as fast as writing numbers.
        self._octets = [f"{number}." for number in range(256)]
        self._last_octets = [f"{number}{form.between}" for number in range(256)]
        widths = range(LONGEST + len(form.between) + 1)
        self._padding = [" " * (form.client_width - width) for width in widths]

    def follow(self, reals: Reals) -> None:
        """Before the lines of a chunk: what real servers are called, and what time it is."""
        if self._reals is not reals:
            self._reals = reals
            self._tails = Kept(
                lambda sort: Kept(lambda key: self._tail(reals, sort, *key)),
            )
        if self._now != self._times.now:
            self._now = self._times.now
            for kept in self._heads.values():
                kept.clear()

    def _head(self, protocol: Protocol, head: int) -> str:
        control = turned(head)
        expires_s = self._times.expires_s(control, protocol)
        state = state_name(control, protocol)
        return self._form.head(protocol, state, expires_s, bool(control & ACTIVE), False)

    def _tail(self, reals: Reals, sort: Sort, vip: bytes, aim: bytes) -> tuple[Kept[int, str], str]:
        service, real_server = reals.target(sort, vip, aim)
        return self._heads[service.protocol], self._form.tail(service, real_server)

    def lines(self, sort: Sort, rows: Iterable[tuple[Any, ...]]) -> list[str]:
        """Of connections of one sort, as slots.ROW unpacks them."""
        form, octets, last_octets = self._form, self._octets, self._last_octets
        padding, tails = self._padding, self._tails[sort]
        opening, closing = ("[", "]") if form.brackets else ("", "")
        lines = []
        for control, prefix, a, b, c, d, vip, port, aim in rows:
            kept, tail = tails[vip, aim]
            if prefix == MAPPED:
                client = f"{octets[a]}{octets[b]}{octets[c]}{last_octets[d]}{port}"
            else:
                text = socket.inet_ntop(socket.AF_INET6, prefix + bytes((a, b, c, d)))
                client = f"{opening}{text}{closing}{form.between}{port}"
            lines.append(f"{kept[control & TURNED_TIMED]}{client}{padding[len(client)]}{tail}")
        return lines
