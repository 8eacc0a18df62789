"""The connection table read from user space: whole chunks of slots, no call for an entry.

Never writes and takes no lock: programs and writers go on meanwhile. What is reported was right
at one instant all the same. A slot's control word is looked at before and after the slot is
copied; while its generation stays and it is live, the programs leave the rest of the slot alone,
and while a connection names a real server, the writers leave that one's address alone
(connections.h, writer.py).

Templates of persistence are few, and each has a timeout of its own: they are decoded one by one,
all others by what they have in common (lines.py).
"""

from __future__ import annotations

import functools
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import compress, repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from onevip.engines.base import EVERY_CONNECTION, LineFormat
from onevip.engines.bpf.codec import unpacked
from onevip.engines.bpf.lines import Kept, LineWriter
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import CONNECTION
from onevip.engines.bpf.sieve import Sieve, both
from onevip.engines.bpf.slots import (
    ACTIVE,
    CLOCK,
    IDENTITY,
    KIND,
    ROW,
    SLOT,
    TEMPLATE_ROW,
    Reals,
    Sort,
    Target,
    Times,
    state_name,
    template_state_name,
    turned,
)
from onevip.model import Connection, ConnectionFilter, ConnectionKind

CHUNK = 4096  # slots: 256 KiB, which stay in a CPU's second cache from look to look
CONTROL = CONNECTION.fields["control"].offset

Targets = Kept[Sort, Kept[tuple[bytes, bytes], Target]]
Found = TypeVar("Found", Connection, str)


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

    def parts(self) -> list[tuple[Sort, Chunk]]:
        """The same by sorts; nearly always there is one."""
        marks = self.slots[CONTROL + 1 :: SLOT]
        parts = []
        for sort in Sort:
            chosen = both(self.chosen, marks.translate(sort.value))
            if chosen == self.chosen:
                return [(sort, self)]
            if 1 in chosen:
                parts.append((sort, self._replace(chosen=chosen)))
        return parts


def in_order(parts: list[tuple[Chunk, list[Found]]]) -> list[Found]:
    """What was made of the parts of a chunk, in the order of its slots."""
    if len(parts) == 1:
        return parts[0][1]
    placed = [
        pair
        for part, found in parts
        for pair in zip(compress(range(len(part.chosen)), part.chosen), found, strict=True)
    ]
    return [one for _, one in sorted(placed, key=itemgetter(0))]


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
        targets: Targets
        for chunk in self._chunks():
            if reals is not chunk.reals:
                reals, targets = chunk.reals, _targets(chunk.reals)
            self._times.now = self._now()
            made = []
            for sort, part in chunk.parts():
                read = self._templates if sort.is_template else self._plain
                made.append((part, list(read(part, targets[sort]))))
            yield from in_order(made)

    def _plain(
        self, part: Chunk, targets: Kept[tuple[bytes, bytes], Target]
    ) -> Iterator[Connection]:
        for head, prefix, a, b, c, d, vip, client_port, aim in part.rows(ROW):
            control = turned(head)
            service, real_server = targets[vip, aim]
            yield Connection(
                service.protocol,
                unpacked(prefix + bytes((a, b, c, d))),
                client_port,
                service.address,
                service.port,
                real_server.address,
                real_server.port,
                state_name(control, service.protocol),
                self._times.expires_s(control, service.protocol),
                bool(control & ACTIVE),
            )

    def _templates(
        self, part: Chunk, targets: Kept[tuple[bytes, bytes], Target]
    ) -> Iterator[Connection]:
        for head, word, client, vip, aim in part.rows(TEMPLATE_ROW):
            control = turned(head)
            service, real_server = targets[vip, aim]
            yield Connection(
                service.protocol,
                unpacked(client),
                0,
                service.address,
                service.port,
                real_server.address,
                real_server.port,
                template_state_name(control),
                self._times.template_expires_s(control, turned(word)),
                bool(control & ACTIVE),
                template=True,
            )

    def lines(self, form: LineFormat) -> Iterator[str]:
        """Each as a line; the lines of a chunk at once."""
        writer = LineWriter(form, self._times)
        for chunk in self._chunks():
            self._times.now = self._now()
            writer.follow(chunk.reals)
            made = []
            for sort, part in chunk.parts():
                if sort.is_template:
                    targets = _targets(chunk.reals)[sort]
                    made.append((part, list(map(form.line, self._templates(part, targets)))))
                else:
                    made.append((part, writer.lines(sort, part.rows(ROW))))
            yield "".join(in_order(made))

    def counts(self) -> Counter[ConnectionKind]:
        """How many of each kind. No connection is decoded by itself."""
        found: Counter[ConnectionKind] = Counter()
        reals = None
        kinds: dict[Sort, Counter[tuple[int, bytes, bytes]]] = {sort: Counter() for sort in Sort}
        for chunk in self._chunks():
            if reals is not None and reals is not chunk.reals:
                _add_named(found, reals, kinds)
            reals = chunk.reals
            for sort, part in chunk.parts():
                kinds[sort].update(part.rows(KIND))
        if reals is not None:
            _add_named(found, reals, kinds)
        return found


def _targets(reals: Reals) -> Targets:
    return Kept(lambda sort: Kept(lambda key: reals.target(sort, *key)))


def _add_named(
    found: Counter[ConnectionKind],
    reals: Reals,
    kinds: dict[Sort, Counter[tuple[int, bytes, bytes]]],
) -> None:
    """Counts of raw kinds as what they mean, while the names are known."""
    for sort, raw in kinds.items():
        for (low, vip, aim), number in raw.items():
            service, real_server = reals.target(sort, vip, aim)
            state = (
                template_state_name(low) if sort.is_template else state_name(low, service.protocol)
            )
            found[ConnectionKind(service, real_server, state, sort.is_template)] += number
        raw.clear()
