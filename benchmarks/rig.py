"""The generator with clocks: empty program, floors, and what is measured between them.

Knows no case and no director.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks.flows import Traffic
from benchmarks.generator import Generator
from benchmarks.measuring import Cost, Round, TestRun, Timing, cost_of
from benchmarks.sections import BenchmarkError

XDP_PASS, XDP_TX = 2, 3  # linux/bpf.h


class Between(Protocol):
    """A program that the packets meet before the measured one, in the floor too."""

    program: int

    def start(self) -> None: ...

    def aim_at(self, program: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a round's packets go: what they are, in which bursts, and the verdict of the floor."""

    traffic: Traffic
    is_passed: bool = False  # measured against a bare PASS instead of a bare TX
    grows: bool = False  # what is measured makes the packet longer
    burst: int = 0  # packets without a break; 0: all
    at_least: int = 0  # packets a round, where the rig makes fewer
    by: Between | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """All rounds of one case."""

    rounds: tuple[Round, ...]
    kernel_ns: float  # median of the kernel's own average, wrapper included

    @property
    def whole_ns(self) -> float:
        """Median, wrapper included."""
        return median(one.whole for one in self.rounds)

    @property
    def cost(self) -> Cost:
        return cost_of(self.rounds)


class Rig:
    """So many rounds of so many packets."""

    def __init__(self, generator: Generator, traffic: Traffic, packets: int, rounds: int) -> None:
        """`traffic`: what the bare empty program is given; it looks at nothing."""
        self.generator = generator
        self.packets = packets
        self._rounds = rounds
        self._empty = TestRun(generator.program("send_back"), traffic.frame)
        self._call_ns = self._empty.call_ns()

    def measure(self, way: Way, once: Callable[[], Timing]) -> Measurement:
        """Empty program, floor, `once`, floor, empty program; and again."""
        rounds, by_kernel = [], []
        for _ in range(self._rounds):
            empty, floor = self.empty(), self.floor(way)
            own_head = (self.through(way, "grow").cpu_ns - floor) / 2 if way.grows else 0.0
            done = once()
            floor, empty = (floor + self.floor(way)) / 2, (empty + self.empty()) / 2
            rounds.append(Round(empty, floor, done.cpu_ns, own_head))
            by_kernel.append(done.kernel_ns)
        return Measurement(tuple(rounds), median(by_kernel))

    def packets_of(self, way: Way) -> int:
        """In a round."""
        return max(self.packets, way.at_least)

    def empty(self) -> float:
        """A bare program, with no wrapper before it."""
        return self._empty(self.packets, call_ns=self._call_ns).cpu_ns

    def floor(self, way: Way) -> float:
        """The wrapper with a bare program behind it."""
        name, verdict = ("let_pass", XDP_PASS) if way.is_passed else ("send_back", XDP_TX)
        done = self.through(way, name)
        if done.verdict != verdict:
            raise BenchmarkError(f"the wrapper's verdict is {done.verdict}, not {verdict}")
        return done.cpu_ns

    def through(
        self, way: Way, program: int | str, *, packets: int = 0,
        between: Callable[[], None] | None = None,
    ) -> Timing:  # fmt: skip
        """Packets made anew, into a program: a descriptor, or a name of generator.bpf.c."""
        packets = packets or self.packets_of(way)
        wrapper = self.generator.make(way.traffic)
        target = self.generator.program(program) if isinstance(program, str) else program
        if way.by:
            way.by.start()
            way.by.aim_at(target)
            target = way.by.program
        self.generator.aim_at(target)
        done = TestRun(wrapper, way.traffic.frame)(packets, way.burst, between, self._call_ns)
        if self.generator.made != packets:
            raise BenchmarkError(f"{self.generator.made} packets were made, not {packets}")
        return done
