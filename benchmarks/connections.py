"""The connection table from outside: fill it, empty it, how full it is.

Here and in connections.bpf.c stands all that the benchmark knows of the table's insides.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from benchmarks.flows import CLIENT6, CLIENTS
from benchmarks.generator import FIRST, HERE
from onevip.engines.bpf import libbpf
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import TcpState
from onevip.engines.bpf.tables import GROW_ABOVE
from onevip.model import ForwardingMethod, Protocol, ServiceKey
from scripts.build_bpf import compile_object

FOREVER = 1 << 24  # clock units: more than the clock has
ORDER = struct.Struct("=16s16s2sBB5I")  # struct order
CHURN = struct.Struct("=4IQ")  # struct churn
SYN_RECEIVED = TcpState.TCP_SYN_RECV  # what a SYN makes


class Churn:
    """Real servers become busier and idler before each packet: a program between two others."""

    def __init__(self, loaded: libbpf.Object, reals: int, changes: int, stride: int) -> None:
        self.program = loaded.programs["churn"]
        self._maps = loaded.maps
        self._changes = reals, changes, stride
        self.start()

    def aim_at(self, program: int) -> None:
        """What gets the packet then."""
        libbpf.map_update(self._maps["onward"], FIRST, program.to_bytes(4, "little"))

    def start(self) -> None:
        """From the same dice again."""
        libbpf.map_update(self._maps["churns"], FIRST, CHURN.pack(*self._changes, 1, 0))

    @property
    def watched(self) -> int:
        """Changes since the start that made a chunk of real servers look again for its best."""
        raw = libbpf.map_lookup(self._maps["churns"], FIRST, CHURN.size) or bytes(CHURN.size)
        count: int = CHURN.unpack(raw)[-1]
        return count


class Connections:
    """The table of one data plane."""

    @classmethod
    @contextmanager
    def of(cls, builds: Path, plane: DataPlane) -> Iterator[Connections]:
        """`builds` keeps the object for the next one."""
        connections = cls(builds, plane)
        try:
            yield connections
        finally:
            connections._object.close()

    def __init__(self, builds: Path, plane: DataPlane) -> None:
        target = builds / "connections.bpf.o"
        if not target.exists():
            compile_object(HERE / "connections.bpf.c", target)
        self._tables = plane.tables
        self._settings = plane.settings
        self._counts = plane.real_counts
        maps = {path.name: libbpf.get_pinned(path) for path in (plane.path / "maps").iterdir()}
        try:
            self._object = libbpf.Object(target, reuse=maps)
        finally:
            for fd in maps.values():
                os.close(fd)
        self.keep_all()

    @property
    def places(self) -> int:
        """How many connections the table can hold as it is now."""
        return self._tables.room().slots[0]

    def make_room(self, flows: int) -> None:
        """The table that a director with so many connections has."""
        if flows > GROW_ABOVE * self.places:
            self._tables.grow()
            self._tables.retire()

    def forget_seen(self) -> None:
        """As if no packet had come for long."""
        self._run("age_all")

    def seen(self) -> int:
        """Connections that a packet met since then."""
        return self._run("seen_all")

    def keep_all(self) -> None:
        """Nothing ends by itself."""
        self._settings.set_many(0, "tcp_timeout", (FOREVER,) * 16)
        self._settings.set(0, "udp_timeout", FOREVER)

    def fill(self, service: ServiceKey, method: ForwardingMethod, reals: int, flows: range) -> int:
        """Established connections of flows, on real servers number flow % reals.

        Returns how many found no place.
        """
        client = IPv4Address(CLIENTS) if service.address.version == 4 else ip_address(CLIENT6)
        is_tcp = service.protocol is Protocol.TCP
        order = ORDER.pack(
            packed(client),
            packed(service.address),
            service.port.to_bytes(2, "big"),
            service.protocol,
            method,
            flows.start,
            len(flows),
            reals,
            TcpState.TCP_ESTABLISHED if is_tcp else 0,
            0,
        )
        orders = self._object.maps["orders"]
        libbpf.map_update(orders, FIRST, order)
        self._run("fill")
        refused: int = ORDER.unpack(libbpf.map_lookup(orders, FIRST, ORDER.size) or b"")[-1]
        return refused

    def churn(self, reals: int, changes: int, stride: int) -> Churn:
        return Churn(self._object, reals, changes, stride)

    def end_new(self) -> int:
        """End what a SYN opened and nothing followed; how many."""
        self._settings.set_many(
            0, "tcp_timeout", tuple(0 if s == SYN_RECEIVED else FOREVER for s in range(16))
        )
        ended = self._run("sweep_all")
        self.keep_all()
        return ended

    def living(self) -> int:
        """Connections that real servers count."""
        counts = (
            self._counts.get(slot, "counts") for slot in range(self._settings.get(0, "reals_used"))
        )
        return sum((count >> 32) + (count & 0xFFFFFFFF) for count in counts)

    def _run(self, name: str) -> int:
        verdict, _, _ = libbpf.run_program(self._object.programs[name], bytes(64))
        return verdict
