"""A director with one service and its real servers, as a case wants them, and its xdp door.

Packets come by BPF_PROG_TEST_RUN, which says that they arrived by lo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from scapy.utils import mac2str

from benchmarks.cases import Case
from benchmarks.connections import FOREVER
from benchmarks.network import FIRST_REAL, FIRST_REAL6, PORT, VIP, VIP6
from onevip.engines.bpf import BpfEngine, libbpf, loader, pins
from onevip.model import AddRealServer, AddService, DataplaneError, RealServer, ServiceKey

LO = 1


class Director:
    """One service with its real servers, as a case wants them; the xdp door."""

    @classmethod
    @contextmanager
    def of(cls, case: Case) -> Iterator[Director]:
        """Loaded for this case, gone afterwards."""
        engine = BpfEngine()
        try:
            director = cls(case, engine)
            yield director
            os.close(director.program)
        finally:
            engine.unload()

    def __init__(self, case: Case, engine: BpfEngine) -> None:
        self._engine = engine
        is_4 = case.family == 4
        self.service = ServiceKey(case.protocol, VIP if is_4 else VIP6, PORT)
        first = FIRST_REAL if is_4 else FIRST_REAL6
        reals = (
            RealServer(first + n, PORT, case.method, case.weight(n)) for n in range(case.reals)
        )
        self._engine.apply(
            [
                AddService(self.service, case.scheduler),
                *(AddRealServer(self.service, real) for real in reals),
            ]
        )
        found = loader.find()
        if found is None:
            raise DataplaneError("loading", "nothing is loaded")
        self.plane = found
        with pins.writer_lock():
            self.program = loader.load_xdp(self.plane)
        # Once known, a way to a real server stays: no packet is handed to tc for its sake.
        self.plane.settings.set(0, "hop_lifetime", FOREVER)

    def arrives_for(self, mac: str) -> None:
        """A test run arrives by lo, which gets this MAC."""
        self.plane.own_macs.set(LO, "mac", 1 << 63 | int.from_bytes(mac2str(mac), "little"))
        self.plane.own_macs.set(LO, "interface", LO)

    def counters(self) -> dict[str, int]:
        """Of the xdp door."""
        return self._engine.door_counters()["xdp"]

    def take(self, frame: bytes) -> None:
        """One packet, at the door."""
        libbpf.run_program(self.program, frame)
