"""CPU time of a cgroup: every process in it, and what the kernel does for packets meanwhile.

A veth's packets are carried in the sender's own time, so all hops between two processes of the
cgroup count. Not what ksoftirqd takes over when one of them sends more than its share at once:
`handed_to_ksoftirqd_us` tells how much that can be.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sections import BenchmarkError

NAME = "onevip-bench"
MOUNTS = Path("/proc/mounts")
GONE_S = 5.0


def mount_point(mounts: str) -> Path:
    """Where cgroup v2 is mounted, of /proc/mounts. Raises BenchmarkError."""
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise BenchmarkError("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")


def usage_us(stat: str) -> int:
    """Microseconds of CPU time, of a cgroup's cpu.stat. Raises BenchmarkError."""
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value)
    raise BenchmarkError(f"cpu.stat without usage_usec:\n{stat}")


def keeps_softirq_apart(config: str, command_line: str) -> bool:
    """Whether this kernel charges no task for packets that arrive while it runs."""
    return (
        "CONFIG_IRQ_TIME_ACCOUNTING=y" in config.splitlines()
        and "tsc=noirqtime" not in command_line.split()
    )


def require_whole_times() -> None:
    """Raises BenchmarkError where a cgroup's CPU time leaves out what packets cost."""
    if keeps_softirq_apart(_kernel_config(), Path("/proc/cmdline").read_text()):
        raise BenchmarkError(
            "this kernel keeps softirq time apart from tasks (CONFIG_IRQ_TIME_ACCOUNTING), so what"
            " packets cost would be missing: boot with tsc=noirqtime"
        )


def _kernel_config() -> str:
    packed, plain = Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode()
    return plain.read_text() if plain.exists() else ""


def handed_to_ksoftirqd_us() -> float:
    """CPU time of all ksoftirqd since boot: of the whole machine, not of us alone."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "comm").read_text().startswith("ksoftirqd/"):
                total += int((process / "schedstat").read_text().split()[0])
    return total / 1000


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One directory of cgroup v2."""

    path: Path

    def used_us(self) -> int:
        return usage_us((self.path / "cpu.stat").read_text())

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in here, children included."""
        # Before `ip netns exec`, which hides the cgroups.
        enter = 'echo 0 > "$0" && exec "$@"'
        return ["sh", "-c", enter, str(self.path / "cgroup.procs"), *argv]


@contextmanager
def cgroup() -> Iterator[Cgroup]:
    """`onevip-bench`, gone afterwards; whoever is in it must have ended by then."""
    path = mount_point(MOUNTS.read_text()) / NAME
    path.mkdir(exist_ok=True)
    try:
        yield Cgroup(path)
    finally:
        deadline = time.monotonic() + GONE_S
        while (path / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        path.rmdir()
