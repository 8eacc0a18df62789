"""The connection table read from user space: whole chunks of slots, no call for an entry.

Never writes and takes no lock: programs and writers go on meanwhile. What is reported was right
at one instant all the same. A slot's control word is looked at before and after the slot is
copied; while its generation stays and it is live, the programs leave the rest of the slot alone,
and while a connection names a real server, the writers leave that one's address alone
(connections.h, writer.py).

Of the copied slots nothing is decoded one by one that many share: a line is its head (protocol,
state, time left), its client, and its tail (VIP, real server), and heads and tails are kept.
"""

from __future__ import annotations

import functools
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import compress, repeat
from typing import Any, Generic, NamedTuple, TypeVar

from onevip.engines.base import EVERY_CONNECTION, LineFormat
from onevip.engines.bpf.codec import MAPPED, unpacked
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import CONNECTION
from onevip.engines.bpf.sieve import IS_TEMPLATE, Sieve, both, without
from onevip.engines.bpf.slots import (
    ACTIVE,
    CLOCK,
    IDENTITY,
    KIND,
    ROW,
    SLOT,
    TEMPLATE,
    TIMED,
    Reals,
    Target,
    Times,
    state_name,
    turned,
)
from onevip.model import Connection, ConnectionFilter, ConnectionKind, Protocol

CHUNK = 4096  # slots: 256 KiB, which stay in a CPU's second cache from look to look
CONTROL = CONNECTION.fields["control"].offset
TURNED_TIMED = turned(TIMED)
LONGEST = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]65535")

Key = TypeVar("Key")
Value = TypeVar("Value")


def clock_now(plane: DataPlane) -> int:
    """The connections' clock: jiffies >> clock_shift, 24 bits; by the sweeper's last tick."""
    hz = plane.settings.get(0, "hz")
    since_ns = time.monotonic_ns() - plane.report.get(0, "clock_ns")
    jiffies = plane.report.get(0, "clock_jiffies") + since_ns * hz // 10**9
    now: int = jiffies >> plane.settings.get(0, "clock_shift") & CLOCK
    return now


class Chunk(NamedTuple):
    """Slots as they were, 1 for each that counts, and what real servers were called then."""

    slots: bytes
    chosen: bytes
    reals: Reals

    def rows(self, form: struct.Struct) -> Iterator[tuple[Any, ...]]:
        """The slots that count, unpacked."""
        places = compress(range(0, len(self.slots), SLOT), self.chosen)
        return map(form.unpack_from, repeat(self.slots), places)


class Kept(dict[Key, Value], Generic[Key, Value]):
    """Answers by question; each is made once."""

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make

    def __missing__(self, key: Key) -> Value:
        value = self[key] = self._make(key)
        return value


class Reader:
    """One reading of the whole table. `now` is asked for the connections' clock."""

    def __init__(
        self,
        plane: DataPlane,
        wanted: ConnectionFilter = EVERY_CONNECTION,
        now: Callable[[], int] | None = None,
    ) -> None:
        self._plane = plane
        self._wanted = wanted
        self._now = now or functools.partial(clock_now, plane)
        self._times = Times(plane, self._now())

    def _chunks(self) -> Iterator[Chunk]:
        """The chunks in which something is found."""
        reals = Reals.look(self._plane)
        sieve = Sieve(self._wanted, reals)
        for table in self._plane.connection_tables():
            for first in range(0, table.entries, CHUNK):
                entries = min(CHUNK, table.entries - first)
                glance = table.copy(first, entries)
                chosen = sieve.choose(glance)
                if not chosen:
                    continue
                before = table.words(CONTROL, first, entries)
                slots = table.copy(first, entries)
                names = Reals.look(self._plane)  # before the last look: while connections live
                after = table.words(CONTROL, first, entries)
                if names != reals:
                    reals, sieve = names, Sieve(self._wanted, names)
                    chosen = sieve.choose(slots)
                elif slots != glance:
                    chosen = sieve.choose(slots)
                if chosen and before != after:
                    pairs = zip(before, after, strict=True)
                    same = bytes([not (one ^ other) & IDENTITY for one, other in pairs])
                    chosen = both(chosen, same)
                if 1 in chosen:
                    yield Chunk(slots, chosen, reals)

    def connections(self) -> Iterator[Connection]:
        """Each as a value."""
        reals = None
        targets: Kept[tuple[bytes, bytes], Target]
        for chunk in self._chunks():
            if reals is not chunk.reals:
                reals = chunk.reals
                targets = Kept(functools.partial(_target_of, reals))
            self._times.now = self._now()
            for head, prefix, a, b, c, d, vip, client_port, aim in chunk.rows(ROW):
                control = turned(head)
                service, real_server, real = targets[vip, aim]
                lasts = self._plane.template_timeout(real) if control & TEMPLATE else 0
                yield Connection(
                    service.protocol,
                    unpacked(prefix + bytes((a, b, c, d))),
                    client_port,
                    service.address,
                    service.port,
                    real_server.address,
                    real_server.port,
                    state_name(control, service.protocol),
                    self._times.expires_s(control, service.protocol, lasts),
                    bool(control & ACTIVE),
                    bool(control & TEMPLATE),
                )

    def lines(self, form: LineFormat) -> Iterator[str]:
        """Each as a line; the lines of a chunk at once."""

        def heads_of(key: tuple[Protocol, int]) -> Kept[int, str]:
            return Kept(functools.partial(self._head, form, *key))

        def tail_of(reals: Reals, key: tuple[bytes, bytes]) -> tuple[Kept[int, str], str]:
            service, real_server, real = reals.target(*key)
            kept = heads[service.protocol, self._plane.template_timeout(real)]
            return kept, form.tail(service, real_server)

        heads = Kept(heads_of)
        tails: Kept[tuple[bytes, bytes], tuple[Kept[int, str], str]]
        reals = None
        # Strings from tables: twice as fast as writing numbers.
        octets = [f"{number}." for number in range(256)]
        last_octets = [f"{number}{form.between}" for number in range(256)]
        widths = range(LONGEST + len(form.between) + 1)
        padding = [" " * (form.client_width - width) for width in widths]
        opening, closing = ("[", "]") if form.brackets else ("", "")
        for chunk in self._chunks():
            if reals is not chunk.reals:
                reals = chunk.reals
                tails = Kept(functools.partial(tail_of, reals))
            now = self._now()
            if now != self._times.now:
                self._times.now = now
                for kept in heads.values():
                    kept.clear()
            lines = []
            for control, prefix, a, b, c, d, vip, port, aim in chunk.rows(ROW):
                kept, tail = tails[vip, aim]
                if prefix == MAPPED:
                    client = f"{octets[a]}{octets[b]}{octets[c]}{last_octets[d]}{port}"
                else:
                    text = socket.inet_ntop(socket.AF_INET6, prefix + bytes((a, b, c, d)))
                    client = f"{opening}{text}{closing}{form.between}{port}"
                lines.append(f"{kept[control & TURNED_TIMED]}{client}{padding[len(client)]}{tail}")
            yield "".join(lines)

    def _head(self, form: LineFormat, protocol: Protocol, template_timeout: int, head: int) -> str:
        control = turned(head)
        return form.head(
            protocol,
            state_name(control, protocol),
            self._times.expires_s(control, protocol, template_timeout),
            bool(control & ACTIVE),
            bool(control & TEMPLATE),
        )

    def counts(self) -> Counter[ConnectionKind]:
        """How many of each kind. No connection is decoded by itself."""
        found: Counter[ConnectionKind] = Counter()
        reals = None
        plain: Counter[tuple[int, bytes, bytes]] = Counter()
        templates: Counter[tuple[int, bytes, bytes]] = Counter()
        for chunk in self._chunks():
            if reals is not None and reals is not chunk.reals:
                _add_named(found, reals, plain, templates)
            reals = chunk.reals
            marks = chunk.slots[CONTROL + 1 :: SLOT].translate(IS_TEMPLATE)
            marked = both(chunk.chosen, marks)
            plain.update(chunk._replace(chosen=without(chunk.chosen, marks)).rows(KIND))
            if 1 in marked:
                templates.update(chunk._replace(chosen=marked).rows(KIND))
        if reals is not None:
            _add_named(found, reals, plain, templates)
        return found


def _target_of(reals: Reals, key: tuple[bytes, bytes]) -> Target:
    return reals.target(*key)


def _add_named(
    found: Counter[ConnectionKind],
    reals: Reals,
    plain: Counter[tuple[int, bytes, bytes]],
    templates: Counter[tuple[int, bytes, bytes]],
) -> None:
    """Counts of raw kinds as what they mean, while the names are known."""
    for raw, mark in ((plain, 0), (templates, TEMPLATE)):
        for (low, vip, aim), number in raw.items():
            service, real_server, _ = reals.target(vip, aim)
            state = state_name(low | mark, service.protocol)
            found[ConnectionKind(service, real_server, state, bool(mark))] += number
        raw.clear()
