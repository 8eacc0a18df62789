"""The user's side of generator.bpf.c: what packets, and into which program."""

from __future__ import annotations

from pathlib import Path

from benchmarks.flows import PLAN, Traffic, client_of, flow_of
from benchmarks.sections import BenchmarkError
from onevip.engines.bpf import libbpf
from scripts.build_bpf import compile_object

HERE = Path(__file__).parent
FIRST = bytes(4)  # the key of an array's first place


class Generator:
    """Wrapper programs, and the small programs that stand beside the data plane's."""

    def __init__(self, builds: Path) -> None:
        target = builds / "generator.bpf.o"
        compile_object(HERE / "generator.bpf.c", target)
        self._object = libbpf.Object(target)

    def program(self, name: str) -> int:
        return self._object.programs[name]

    def make(self, traffic: Traffic) -> int:
        """The wrapper for this traffic, which starts anew."""
        libbpf.map_update(self._object.maps["plans"], FIRST, traffic.packed())
        return self.program(traffic.wrapper)

    def aim_at(self, program: int) -> None:
        """What the wrappers jump into."""
        libbpf.map_update(self._object.maps["measured"], FIRST, program.to_bytes(4, "little"))

    @property
    def made(self) -> int:
        """Packets since make(): a wrapper that gives up counts none."""
        return self._plan()[6]

    @property
    def misses(self) -> int:
        """Of the HASH look-up."""
        return self._plan()[5]

    def _plan(self) -> tuple[int, ...]:
        raw = libbpf.map_lookup(self._object.maps["plans"], FIRST, PLAN.size) or bytes(PLAN.size)
        return PLAN.unpack(raw)

    def check(self, traffic: Traffic) -> None:
        """That the wrapper's first requests are those of flows.py. Raises BenchmarkError."""
        wrapper = self.make(traffic)
        self.aim_at(self.program("send_back"))
        for n in range(64):
            _, frame, _ = libbpf.run_program(wrapper, traffic.frame)
            address, port = client_of(flow_of(n, traffic.flows))
            if frame[26:30] + frame[34:36] != address.packed + port.to_bytes(2, "big"):
                raise BenchmarkError(f"packet {n} of the generator is not of {address}:{port}")

    def close(self) -> None:
        self._object.close()
