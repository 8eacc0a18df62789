"""Brings the data plane into the kernel and finds it there again. Knows no service.

Loading pins everything in a temporary directory and renames it: a loader that is killed leaves
either nothing or the whole. What is found is checked before it is used.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import struct
import time
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf, pins, shapes
from onevip.engines.bpf.filter import AddressFilter
from onevip.engines.bpf.maps import Hash, MappedArray, PerCpuArray
from onevip.engines.bpf.shapes import Limits, TcpState
from onevip.engines.bpf.tables import Tables
from onevip.model import TUNABLES, DataplaneError, Timeouts
from onevip.model.states import SCTP, TCP, UDP, StateMachine

OBJECTS = Path(__file__).parent / "objects"
MINIMUM_KERNEL = (6, 1)
CLOCK_MONOTONIC_COARSE = 6  # its resolution is one jiffy: no need to measure HZ
HOP_LIFETIME_S = 1.0
SHORTEST_UNIT_S = 0.32
LO_FORWARDING = Path("/proc/sys/net/ipv4/conf/lo/forwarding")


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


def clock_shift(hz: int) -> int:
    """A unit of the connections' clock is 2^this jiffies: 0.32 to 0.64 s.

    So half of its 24 bits, which tells before from after, is more than IPVS's longest timeout.
    """
    return max(0, math.ceil(math.log2(SHORTEST_UNIT_S * hz)))


def clock_units(seconds: float, hz: int) -> int:
    """Seconds in units of the connections' clock, at least 1."""
    return max(1, round(seconds * hz / (1 << clock_shift(hz))))


def unit_seconds(units: int, hz: int) -> int:
    """The seconds that `clock_units` was asked for: whole ones, 1 or more."""
    return max(1, round(units * (1 << clock_shift(hz)) / hz))


def timeout_units(machine: StateMachine, hz: int) -> tuple[int, ...]:
    """The timeouts of a protocol's states by number, sixteen of them."""
    units = [clock_units(state.default_s, hz) for state in machine.states]
    return (*units, *[0] * (16 - len(units)))


class DataPlane:
    """The maps of one network namespace, opened by their pins at first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = path.stat().st_ino

    @property
    def is_pinned(self) -> bool:
        """Still what its path leads to: another process may have unloaded it and loaded anew."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _open(self, name: str, key_size: int, value_size: int) -> int:
        fd = libbpf.get_pinned(self.path / "maps" / name)
        found = struct.unpack_from("=II", libbpf.object_info(fd), 8)
        if found != (key_size, value_size):
            os.close(fd)
            raise self._of_another_version(
                f"map {name}: keys and values of {found} bytes, not {(key_size, value_size)}"
            )
        return fd

    def _of_another_version(self, what: str) -> DataplaneError:
        return DataplaneError(
            f"the table at {self.path} has another layout",
            f"{what}: another version of onevip loaded it; unload it with `onevip detach --unload`",
        )

    def _array(self, name: str, shape: shapes.Shape, entries: int) -> MappedArray:
        return MappedArray(self._open(name, 4, shape.size), shape, entries)

    @cached_property
    def settings(self) -> MappedArray:
        found = self.unchecked_settings()
        version = found.get(0, "shapes_version")
        if version != Limits.SHAPES_VERSION:
            raise self._of_another_version(f"version {version}, not {Limits.SHAPES_VERSION:d}")
        return found

    def unchecked_settings(self) -> MappedArray:
        """For the one who writes the version."""
        return self._array("settings", shapes.SETTINGS, 1)

    @cached_property
    def services(self) -> MappedArray:
        return self._array("services", shapes.SERVICE, Limits.MAX_SERVICES)

    @cached_property
    def chunks(self) -> MappedArray:
        return self._array("chunks", shapes.CHUNK, Limits.MAX_CHUNKS)

    @cached_property
    def ring_parts(self) -> MappedArray:
        """The same map: rings lie among the chunks of lists."""
        return self._array("chunks", shapes.RING_PART, Limits.MAX_CHUNKS)

    @cached_property
    def reals(self) -> MappedArray:
        return self._array("reals", shapes.REAL, Limits.MAX_REALS)

    def connection_tables(self) -> list[MappedArray]:
        """Slots of connections, the current table first. For reading only."""
        return self.tables.open()

    @cached_property
    def real_counts(self) -> MappedArray:
        """One value in the kernel; here one for each real server."""
        shape, entries = shapes.REAL_COUNTS, Limits.MAX_REALS
        return MappedArray(self._open("real_counts", 4, shape.size * entries), shape, entries)

    @cached_property
    def service_ids(self) -> Hash:
        size = shapes.SERVICE_KEY.size
        return Hash(self._open("service_ids", size, 4), size)

    @cached_property
    def real_totals(self) -> PerCpuArray:
        return PerCpuArray(self._open("real_totals", 4, shapes.TOTALS.size), shapes.TOTALS)

    @cached_property
    def own_macs(self) -> MappedArray:
        """There once an xdp door was opened."""
        return self._array("own_macs", shapes.OWN_MAC, Limits.XDP_PLACES)

    @cached_property
    def real_estimates(self) -> MappedArray:
        """Rates of real servers; those of services by their index."""
        return self._array("real_estimates", shapes.ESTIMATE, Limits.MAX_REALS)

    @cached_property
    def service_estimates(self) -> MappedArray:
        return self._array("service_estimates", shapes.ESTIMATE, Limits.MAX_SERVICES)

    @cached_property
    def report(self) -> MappedArray:
        """The sweeper's: its ticks stand still when its timer is lost."""
        return self._array("sweeper_report", shapes.SWEEPER_REPORT, 1)

    @cached_property
    def filter(self) -> AddressFilter:
        key = self.settings.get_many(0, "hash_key")[3]
        return AddressFilter(self._array("filter", shapes.ADDRESS_FILTER, 1), key)

    @property
    def tables(self) -> Tables:
        return Tables(self)

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
    try:
        return None if path is None else DataPlane(path)
    except FileNotFoundError:
        return None  # unloaded since we looked


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
        with (
            closing(libbpf.Object(object_path("tc"))) as tc,
            closing(libbpf.Object(object_path("sweep"), reuse=tc.maps)) as sweep,
        ):
            for name, fd in {**tc.maps, **sweep.maps}.items():
                libbpf.pin(fd, unfinished / "maps" / name)
            for name, fd in {**tc.programs, **sweep.programs}.items():
                libbpf.pin(fd, unfinished / "programs" / name)
            plane = DataPlane(unfinished)
            _write_settings(plane.unchecked_settings())
            plane.tables.create_first()
            arm(sweep.programs["arm"])
        unfinished.rename(final)
    except BaseException as error:
        if unfinished.exists():
            pins.remove_tree(unfinished)
        if isinstance(error, OSError):
            raise DataplaneError(f"pinning at {base}", str(error), error.errno or 0) from error
        raise
    return DataPlane(final)


def load_xdp(plane: DataPlane) -> int:
    """The xdp program over the maps that are there, pinned; its descriptor."""
    if not (plane.path / "programs" / "onevip_xdp").exists():
        _reload(plane, ("xdp",))
    return plane.program("onevip_xdp")


def is_current(plane: DataPlane) -> bool:
    """Whether the programs in the kernel are this version's."""
    return plane.settings.get(0, "build") == build_id()


def upgrade(plane: DataPlane) -> None:
    """Load this version's programs over the maps that are there; the doors still run the old.

    Raises DataplaneError when a map's layout has changed; the old programs then run on.
    """
    has_xdp = (plane.path / "programs" / "onevip_xdp").exists()
    _reload(plane, ("tc", "sweep", "xdp") if has_xdp else ("tc", "sweep"))
    rearm(plane)


def mark_current(plane: DataPlane) -> None:
    """The last step of an upgrade, when every door runs this version's programs."""
    plane.settings.set(0, "build", build_id())


def _reload(plane: DataPlane, names: tuple[str, ...]) -> None:
    """Load objects over the pinned maps and pin their programs in place of older ones."""
    pinned_maps = plane.path / "maps"
    with ExitStack() as stack:
        maps: dict[str, int] = {}
        for path in pinned_maps.iterdir():
            maps[path.name] = libbpf.get_pinned(path)
            stack.callback(os.close, maps[path.name])
        for name in names:
            loaded = stack.enter_context(closing(libbpf.Object(object_path(name), reuse=maps)))
            for new in loaded.maps.keys() - maps.keys():
                libbpf.pin(loaded.maps[new], pinned_maps / new)
                maps[new] = loaded.maps[new]
            for program, fd in loaded.programs.items():
                unfinished = plane.path / "programs" / f"{program}-new"
                unfinished.unlink(missing_ok=True)
                libbpf.pin(fd, unfinished)
                unfinished.rename(unfinished.with_name(program))


def rearm(plane: DataPlane) -> None:
    """`arm` by the program that is pinned."""
    program = plane.program("arm")
    try:
        arm(program)
    finally:
        os.close(program)


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


def enable_lookups() -> bool:
    """Let the programs ask the routing table as for packets of our own. True: it was off.

    bpf_fib_lookup wants the forwarding flag of the interface it starts from. That is lo, so
    ip_forward stays as the administrator has it.
    """
    try:
        if LO_FORWARDING.read_text().strip() == "1":
            return False
        LO_FORWARDING.write_text("1\n")
    except OSError as error:
        raise DataplaneError(
            f"writing {LO_FORWARDING}",
            f"{error.strerror}: set net.ipv4.conf.lo.forwarding=1 by hand",
            error.errno or 0,
        ) from None
    return True


def timeouts(plane: DataPlane) -> Timeouts:
    """Those in force, which are what was set: a clock unit is less than a second."""
    settings = plane.settings
    tcp = settings.get_many(0, "tcp_timeout")
    units = (
        tcp[TcpState.TCP_ESTABLISHED],
        tcp[TcpState.TCP_FIN_WAIT],
        settings.get(0, "udp_timeout"),
    )
    return Timeouts(*(unit_seconds(one, settings.get(0, "hz")) for one in units))


def set_timeouts(plane: DataPlane, wanted: Timeouts) -> None:
    """In force at once. The caller holds the writer lock."""
    settings = plane.settings
    hz = settings.get(0, "hz")
    for state, seconds in (
        (TcpState.TCP_ESTABLISHED, wanted.tcp_s),
        (TcpState.TCP_FIN_WAIT, wanted.tcp_fin_s),
    ):
        settings.set_item(0, "tcp_timeout", state, clock_units(seconds, hz))
    settings.set(0, "udp_timeout", clock_units(wanted.udp_s, hz))


def _write_settings(settings: MappedArray) -> None:
    hz = round(1 / time.clock_getres(CLOCK_MONOTONIC_COARSE))
    settings.set(0, "shapes_version", Limits.SHAPES_VERSION)
    settings.set(0, "hz", hz)
    settings.set(0, "clock_shift", clock_shift(hz))
    settings.set(0, "cpus", libbpf.possible_cpus())
    for tunable in TUNABLES.values():
        settings.set(0, tunable.name, tunable.default)
    settings.set_many(0, "hash_key", tuple(secrets.randbits(64) | 1 for _ in range(4)))
    settings.set(0, "build", build_id())
    settings.set(0, "netns_cookie", namespace.cookie())
    settings.set(0, "hop_lifetime", clock_units(HOP_LIFETIME_S, hz))
    settings.set(0, "udp_timeout", clock_units(UDP.states[0].default_s, hz))
    settings.set_many(0, "tcp_timeout", timeout_units(TCP, hz))
    settings.set_many(0, "sctp_timeout", timeout_units(SCTP, hz))
    settings.set(0, "reals_used", 0)
    settings.set(0, "next_chunk", 1)  # chunk 0 is the empty list
