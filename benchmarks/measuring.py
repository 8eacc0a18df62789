"""Clocks around BPF_PROG_TEST_RUN, and the arithmetic of what they say. Knows no case.

The clock is the thread's CPU time: whoever else runs on this machine is not in it. What a call
costs besides its packets (a quarter of a millisecond: the kernel patches the program into its
dispatcher) is taken off. The kernel's own average, whole nanoseconds, is kept beside it.
"""

from __future__ import annotations

import ctypes as C  # noqa: N812 - as in onevip.engines.bpf.libbpf
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from onevip.engines.bpf import libbpf

CALLS = 51  # to find out what a call costs


class _Options(C.Structure):
    """struct bpf_test_run_opts, up to what is read here."""

    _fields_ = (
        ("sz", C.c_size_t), ("data_in", C.c_void_p), ("data_out", C.c_void_p),
        ("data_size_in", C.c_uint32), ("data_size_out", C.c_uint32), ("ctx_in", C.c_void_p),
        ("ctx_out", C.c_void_p), ("ctx_size_in", C.c_uint32), ("ctx_size_out", C.c_uint32),
        ("retval", C.c_uint32), ("repeat", C.c_int), ("duration", C.c_uint32),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Timing:
    """Nanoseconds for each packet."""

    cpu_ns: float
    kernel_ns: float  # by bpf_prog_test_run's own clock: other threads' time may be in it
    verdict: int  # of the last packet


class TestRun:
    """One program, ready to be run on one frame again and again."""

    __test__ = False  # pytest: no test

    def __init__(self, program: int, frame: bytes) -> None:
        self._program = program
        self._frame = C.create_string_buffer(frame, len(frame))
        self._options = _Options(
            sz=C.sizeof(_Options),
            data_in=C.cast(self._frame, C.c_void_p),
            data_size_in=len(frame),
        )

    def __call__(
        self, packets: int, burst: int = 0, between: Callable[[], None] | None = None,
        call_ns: float = 0.0,
    ) -> Timing:  # fmt: skip
        """`between` is done after each burst, and not measured; nor is `call_ns` a burst."""
        cpu = kernel = 0.0
        for size in bursts(packets, burst or packets):
            cpu += self._run(size) - call_ns
            kernel += self._options.duration * size
            if between:
                between()
        return Timing(cpu / packets, kernel / packets, C.c_int32(self._options.retval).value)

    def _run(self, repeat: int) -> int:
        self._options.repeat = repeat
        started = time.thread_time_ns()
        libbpf.library().call(
            "running a program", "bpf_prog_test_run_opts", self._program, C.byref(self._options)
        )
        return time.thread_time_ns() - started

    def call_ns(self) -> float:
        """What a call costs besides its packets. Two of them: for one, nothing is patched."""
        return median(self._run(2) for _ in range(CALLS))


def bursts(packets: int, burst: int) -> Iterator[int]:
    """The sizes of bursts that make so many packets."""
    for done in range(0, packets, burst):
        yield min(burst, packets - done)


@dataclass(frozen=True, slots=True)
class Round:
    """Nanoseconds for each packet, measured one after the other: the machine had no time to drift.

    `empty` and `floor` are means of what was measured before and after `whole`.
    """

    empty: float  # a bare program (XDP_TX), no wrapper
    floor: float  # wrapper + bare program of the same verdict
    whole: float  # wrapper + what is measured
    own_head: float = 0.0  # the wrapper's own adjust_head, which floor has not


@dataclass(frozen=True, slots=True)
class Cost:
    """What a case costs, in nanoseconds for each packet."""

    empty: float
    net: float
    least: float

    @property
    def ratio(self) -> float:
        """Raw ÷ empty program, where raw is net + empty: the cost of a program that is attached
        to an interface, with no wrapper before it.
        """
        return (self.net + self.empty) / self.empty


def cost_of(rounds: Sequence[Round]) -> Cost:
    """Medians over the rounds. `least`: the quietest run above the quietest floor."""
    own_head = median(one.own_head for one in rounds)
    return Cost(
        empty=median(one.empty for one in rounds),
        net=median(one.whole - one.floor - one.own_head for one in rounds),
        least=min(one.whole for one in rounds) - min(one.floor for one in rounds) - own_head,
    )


@contextmanager
def pinned() -> Iterator[None]:
    """This thread on one CPU: the last of those that it may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
