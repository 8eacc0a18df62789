"""Brings the data plane into the kernel and finds it there again. Knows no service.

Loading pins everything in a temporary directory and renames it: a loader that is killed leaves
either nothing or the whole. What is found is checked before it is used.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf, pins, shapes
from onevip.engines.bpf.maps import Hash, MappedArray, PerCpuArray
from onevip.engines.bpf.shapes import Limits, TcpState
from onevip.model import DataplaneError

OBJECTS = Path(__file__).parent / "objects"
MINIMUM_KERNEL = (6, 1)
CLOCK_MONOTONIC_COARSE = 6  # its resolution is one jiffy: no need to measure HZ
HOP_LIFETIME_S = 1.0
LO_FORWARDING = Path("/proc/sys/net/ipv4/conf/lo/forwarding")

#: The kernel's timeouts in seconds (spec ipvs §3.2, §3.3).
TCP_TIMEOUTS_S = {
    TcpState.TCP_NONE: 2,
    TcpState.TCP_ESTABLISHED: 900,
    TcpState.TCP_SYN_SENT: 120,
    TcpState.TCP_SYN_RECV: 60,
    TcpState.TCP_FIN_WAIT: 120,
    TcpState.TCP_TIME_WAIT: 120,
    TcpState.TCP_CLOSE: 10,
    TcpState.TCP_CLOSE_WAIT: 60,
    TcpState.TCP_LAST_ACK: 30,
    TcpState.TCP_LISTEN: 120,
    TcpState.TCP_SYNACK: 120,
}
UDP_TIMEOUT_S = 300


def object_path(name: str) -> Path:
    """The compiled object of bpf/<name>.bpf.c."""
    path = OBJECTS / f"{name}.bpf.o"
    if not path.exists():
        raise DataplaneError(f"{path.name} not found", "compile it: make bpf")
    return path


def build_id() -> int:
    """The first 8 bytes of the SHA-256 over all objects: which programs these are."""
    digest = hashlib.sha256()
    for name in ("tc", "xdp", "sweep"):
        digest.update(object_path(name).read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


def clock_units(seconds: float, hz: int) -> int:
    """Seconds in units of the connections' clock (2^CLOCK_SHIFT jiffies), at least 1."""
    return max(1, round(seconds * hz / (1 << Limits.CLOCK_SHIFT)))


@dataclass
class DataPlane:
    """The maps of one network namespace, opened by their pins at first use."""

    path: Path

    def _open(self, name: str, key_size: int, value_size: int) -> int:
        fd = libbpf.get_pinned(self.path / "maps" / name)
        found = struct.unpack_from("=II", libbpf.object_info(fd), 8)
        if found != (key_size, value_size):
            raise DataplaneError(
                f"map {name} of {self.path} has another layout",
                f"keys and values of {found} bytes, not {(key_size, value_size)}: another version"
                " of onevip loaded it; unload it with `onevip detach --unload`",
            )
        return fd

    def _array(self, name: str, shape: shapes.Shape, entries: int) -> MappedArray:
        return MappedArray(self._open(name, 4, shape.size), shape, entries)

    @cached_property
    def settings(self) -> MappedArray:
        return self._array("settings", shapes.SETTINGS, 1)

    @cached_property
    def services(self) -> MappedArray:
        return self._array("services", shapes.SERVICE, Limits.MAX_SERVICES)

    @cached_property
    def chunks(self) -> MappedArray:
        return self._array("chunks", shapes.CHUNK, Limits.MAX_CHUNKS)

    @cached_property
    def reals(self) -> MappedArray:
        return self._array("reals", shapes.REAL, Limits.MAX_REALS)

    @cached_property
    def service_ids(self) -> Hash:
        size = shapes.SERVICE_KEY.size
        return Hash(self._open("service_ids", size, 4), size)

    @cached_property
    def real_totals(self) -> PerCpuArray:
        return PerCpuArray(self._open("real_totals", 4, shapes.TOTALS.size), shapes.TOTALS)

    @cached_property
    def door_counters(self) -> PerCpuArray:
        return PerCpuArray(
            self._open("door_counters", 4, shapes.DOOR_COUNTERS.size), shapes.DOOR_COUNTERS
        )

    def program(self, name: str) -> int:
        """A new descriptor of a pinned program."""
        return libbpf.get_pinned(self.path / "programs" / name)


def find() -> DataPlane | None:
    """The data plane of this network namespace, or None when nothing is loaded."""
    path = pins.directory()
    return None if path is None else DataPlane(path)


def load(base: Path) -> DataPlane:
    """Load programs and maps for this network namespace; the caller holds the writer lock.

    Raises DataplaneError when the kernel is too old or refuses; nothing is left behind then.
    """
    require_kernel()
    pins.sweep_dead(base)
    final = base / namespace.identity()
    unfinished = base / f"{final.name}-new"  # bpffs refuses names with dots
    try:
        for part in ("maps", "programs", "links"):
            (unfinished / part).mkdir(mode=0o700, parents=True)
        tc = libbpf.Object(object_path("tc"))
        sweep = libbpf.Object(object_path("sweep"), reuse=tc.maps)
        for name, fd in {**tc.maps, **sweep.maps}.items():
            libbpf.pin(fd, unfinished / "maps" / name)
        for name, fd in {**tc.programs, **sweep.programs}.items():
            libbpf.pin(fd, unfinished / "programs" / name)
        _write_settings(DataPlane(unfinished).settings)
        arm(sweep.programs["arm"])
        tc.close()
        sweep.close()
        unfinished.rename(final)
    except BaseException:
        if unfinished.exists():
            pins.remove_tree(unfinished)
        raise
    return DataPlane(final)


def load_xdp(plane: DataPlane) -> int:
    """The xdp program over the maps that are there, pinned; its descriptor."""
    pinned = plane.path / "programs" / "onevip_xdp"
    if pinned.exists():
        return libbpf.get_pinned(pinned)
    maps = {path.name: libbpf.get_pinned(path) for path in (plane.path / "maps").iterdir()}
    loaded = libbpf.Object(object_path("xdp"), reuse=maps)
    libbpf.pin(loaded.programs["onevip_xdp"], pinned)
    loaded.close()
    for fd in maps.values():
        os.close(fd)
    return libbpf.get_pinned(pinned)


def arm(program: int) -> None:
    """Start the sweeper's timer, or hand it to this version of its code."""
    verdict, _, _ = libbpf.run_program(program, bytes(64))
    if verdict != 0:
        raise DataplaneError("starting the sweeper", os.strerror(-verdict), -verdict)


def require_kernel() -> None:
    """Raises DataplaneError on a kernel older than 6.1."""
    release = os.uname().release
    numbers = release.split("-")[0].split(".")
    if tuple(int(part) for part in numbers[:2]) < MINIMUM_KERNEL:
        raise DataplaneError(f"kernel {release} is too old", "onevip needs Linux 6.1 or newer")


def enable_lookups() -> None:
    """Let the programs ask the routing table as for packets of our own.

    bpf_fib_lookup wants the forwarding flag of the interface it starts from. That is lo, so
    ip_forward stays as the administrator has it.
    """
    try:
        if LO_FORWARDING.read_text().strip() != "1":
            LO_FORWARDING.write_text("1\n")
    except OSError as error:
        raise DataplaneError(
            f"writing {LO_FORWARDING}",
            f"{error.strerror}: set net.ipv4.conf.lo.forwarding=1 by hand",
            error.errno or 0,
        ) from None


def _write_settings(settings: MappedArray) -> None:
    hz = round(1 / time.clock_getres(CLOCK_MONOTONIC_COARSE))
    timeouts = [0] * 16
    for state, seconds in TCP_TIMEOUTS_S.items():
        timeouts[state] = clock_units(seconds, hz)
    settings.set(0, "shapes_version", Limits.SHAPES_VERSION)
    settings.set(0, "hz", hz)
    settings.set_many(0, "hash_key", tuple(secrets.randbits(64) for _ in range(4)))
    settings.set(0, "build", build_id())
    settings.set(0, "netns_cookie", namespace.cookie())
    settings.set(0, "hop_lifetime", clock_units(HOP_LIFETIME_S, hz))
    settings.set(0, "udp_timeout", clock_units(UDP_TIMEOUT_S, hz))
    settings.set_many(0, "tcp_timeout", tuple(timeouts))
    settings.set(0, "reals_used", 0)
    settings.set(0, "next_chunk", 1)  # chunk 0 is the empty list
