"""The longest moment in which a busy process gets no CPU. Knows nothing of what is measured.

A process on each CPU, of ordinary priority, reads two clocks without a pause and keeps the largest
gap between two readings. By CLOCK_MONOTONIC all is in it: other processes' turns too, and other
guests'. By the process's own CPU time only what the kernel does in its stead: timers, packets.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stall:
    """What one process has seen."""

    wall_ns: int
    own_ns: int  # without other processes' turns


def longest_gaps(clocks: Callable[[], tuple[int, int]], until: int) -> Stall:
    """Of two clocks that are read together, until the first says so."""
    wall_ns = own_ns = 0
    wall, own = clocks()
    while wall < until:
        before, own_before = wall, own
        wall, own = clocks()
        wall_ns = max(wall_ns, wall - before)
        own_ns = max(own_ns, own - own_before)
    return Stall(wall_ns, own_ns)


def largest(stalls: Iterable[Stall]) -> Stall:
    """Of each clock by itself."""
    stalls = list(stalls)
    return Stall(max(one.wall_ns for one in stalls), max(one.own_ns for one in stalls))


def watched(seconds: float, meanwhile: Callable[[], None] = lambda: None) -> Stall:
    """Busy processes on all CPUs for so long: the worst. `meanwhile` is done once they all run.

    The caller sleeps: it would only be in their way.
    """
    cpus = sorted(os.sched_getaffinity(0))
    watchers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stall", str(cpu), str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for cpu in cpus
    ]  # fmt: skip
    try:
        for watcher in watchers:
            assert watcher.stdout is not None
            watcher.stdout.readline()
        for watcher in watchers:
            assert watcher.stdin is not None
            watcher.stdin.write("go\n")
            watcher.stdin.flush()
        meanwhile()
        said = [watcher.communicate(timeout=seconds + 20)[0].split() for watcher in watchers]
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
    return largest(Stall(int(wall), int(own)) for wall, own in said)


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    print("ready", flush=True)
    sys.stdin.readline()
    seen = longest_gaps(
        lambda: (time.monotonic_ns(), time.thread_time_ns()),
        time.monotonic_ns() + int(float(sys.argv[2]) * 1e9),
    )
    print(seen.wall_ns, seen.own_ns)


if __name__ == "__main__":
    main()
