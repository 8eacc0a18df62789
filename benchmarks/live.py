"""A director on a bench: frames from a generator in the kernel, and a sink that counts them.

    generator gen - front | director | back - gone sink         two legs
    generator and sink gen - front | director                   one leg

Generator and sink are the two programs of live.bpf.c in one namespace, the director is another.
Real servers are static neighbours behind `back`, or, where the director has one leg, behind
`front` beside the clients' router. Knows no balancer; roads.py does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from onevip.engines.bpf import libbpf
from onevip.lab.cluster import QUIET
from onevip.lab.namespace import NAMESPACES, Namespace

SOURCE = Path(__file__).with_name("live.bpf.c")
PREFIX = "onevip-i"

BATCH = 64  # live.bpf.c
LIVE_FRAMES = 2  # BPF_F_TEST_XDP_LIVE_FRAMES, linux/bpf.h
CLONE_NEWNET = 0x40000000
SETTLE_S = 5.0

GEN, FRONT, BACK = "02:00:00:00:00:01", "02:00:00:00:00:0f", "02:00:00:00:00:0b"
VIP = "10.0.0.100"
CLIENTS = "10.64.0.1"
REALS = IPv4Network("10.1.0.0/16")

SYN, ACK = 0x02, 0x10
# two no-operations and a timestamp, as nearly every segment carries them
TCP_OPTIONS = bytes((1, 1, 8, 10)) + bytes(8)


def real_address(number: int) -> str:
    """Of the nth real server, from 0."""
    return str(REALS[10 + number])


def real_mac(address: str) -> str:
    raw = IPv4Address(address).packed
    return "02:00:" + ":".join(f"{byte:02x}" for byte in raw)


def frame(protocol: int, flags: int) -> bytes:
    """From a client to the VIP, port 80: 66 bytes. The generator fills in the client."""
    mac = bytes.fromhex((FRONT + GEN).replace(":", ""))
    if protocol == socket.IPPROTO_TCP:
        l4 = struct.pack(">HHIIBBHHH", 0, 80, 1, 1, 8 << 4, flags, 512, 0, 0) + TCP_OPTIONS
    else:
        l4 = struct.pack(">HHHH", 0, 80, 32, 0) + bytes(24)
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), 0, 0x4000, 64, protocol, 0,
        bytes(4), IPv4Address(VIP).packed,
    )  # fmt: skip
    return mac + b"\x08\x00" + ip + l4


def sum_of_words(header: bytes) -> int:
    """Of 16-bit words as this machine loads them, for the generator's checksum."""
    return sum(word for (word,) in struct.iter_unpack("=H", header))


@dataclass(frozen=True, slots=True)
class Run:
    """What the generator saw of one run."""

    packets: int
    arrived: int  # at the sink, with the wanted address
    others: int  # at the sink, with another one
    ns_a_packet: float


class _TestRun(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t), ("data_in", ctypes.c_void_p), ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32), ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p), ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32), ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32), ("repeat", ctypes.c_int), ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32), ("cpu", ctypes.c_uint32), ("batch_size", ctypes.c_uint32),
    )  # fmt: skip


PLAN = struct.Struct("=QQIIIIIIIIII72s")
ARRIVALS = struct.Struct("=QQ")


class Programs:
    """live.bpf.c in the kernel. `object_file` is what clang made of it."""

    def __init__(self, object_file: Path) -> None:
        self._loaded = libbpf.Object(object_file)
        self.by_name = self._loaded.programs
        self._plan = mmap.mmap(self._loaded.maps["plans"], PLAN.size)
        self.onward = 0  # the interface to which the program `redirect` sends
        self._sunk = mmap.mmap(self._loaded.maps["sunk"], ARRIVALS.size)

    def arrivals(self) -> tuple[int, int]:
        """Frames at the sink since it was loaded: wanted ones, and others."""
        wanted, others = ARRIVALS.unpack_from(self._sunk)
        return wanted, others

    def run(
        self, given: bytes, interface: int, packets: int, *, first_flow: int, step: int,
        wanted: IPv4Network,
    ) -> Run:  # fmt: skip
        """Send packets out of an interface of this namespace; returns when they have arrived."""
        plan = (
            0, 0, 0, interface, first_flow, step, 0, self.onward, int(IPv4Address(CLIENTS)),
            sum_of_words(given[14:34]),
            int.from_bytes(wanted.network_address.packed, "little"),
            int.from_bytes(wanted.netmask.packed, "little"),
            given,
        )  # fmt: skip
        self._plan[:] = PLAN.pack(*plan)
        before = self.arrivals()
        data = ctypes.create_string_buffer(given, len(given))
        options = _TestRun(
            sz=ctypes.sizeof(_TestRun), data_in=ctypes.cast(data, ctypes.c_void_p),
            data_size_in=len(given), repeat=packets, flags=LIVE_FRAMES, batch_size=BATCH,
        )  # fmt: skip
        generate = self.by_name["generate"]
        libbpf.library().call(
            "generating frames", "bpf_prog_test_run_opts", generate, ctypes.byref(options)
        )
        deadline = time.monotonic() + SETTLE_S
        while sum(self.arrivals()) - sum(before) < packets and time.monotonic() < deadline:
            time.sleep(0.01)
        arrived, others = (now - was for now, was in zip(self.arrivals(), before, strict=True))
        first, last, marks = PLAN.unpack_from(self._plan)[:3]
        batches = max(marks - 1, 1)
        return Run(packets, arrived, others, (last - first) / (batches * BATCH))


@contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """This thread in another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACES / namespace.name, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(home)
        os.close(home)
        os.close(there)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Site:
    """The two namespaces, wired. `links` are what is attached: a link ends with its descriptor."""

    programs: Programs
    outside: Namespace
    director: Namespace
    links: list[int] = field(default_factory=list)

    def xdp(self, host: Namespace, interface: str, program: str) -> None:
        """Attach a program of live.bpf.c in native mode."""
        with inside(host):
            index = socket.if_nametoindex(interface)
            link = libbpf.link_create(
                self.programs.by_name[program], index, libbpf.ATTACH_XDP, libbpf.XDP_FLAGS_DRV_MODE
            )
        self.links.append(link)

    def run(
        self, given: bytes, packets: int, *, wanted: IPv4Network, first_flow: int = 0, step: int = 0
    ) -> Run:
        """Send frames to `front`."""
        with inside(self.outside):
            return self.programs.run(
                given, socket.if_nametoindex("gen"), packets,
                first_flow=first_flow, step=step, wanted=wanted,
            )  # fmt: skip


@contextmanager
def site(programs: Programs, reals: int, *, has_one_leg: bool = False) -> Iterator[Site]:
    """Both namespaces `onevip-i<pid>-…`, gone afterwards; `reals` real servers are neighbours."""
    sweep_killed_runs()
    prefix = f"{PREFIX}{os.getpid()}-"
    built = Site(programs, Namespace(f"{prefix}outside"), Namespace(f"{prefix}director"))
    try:
        _build(built, reals, "front" if has_one_leg else "back")
        yield built
    finally:
        for link in built.links:
            os.close(link)
        built.director.remove()
        built.outside.remove()


def _build(built: Site, reals: int, leg: str) -> None:
    """`leg`: the director's interface to the real servers."""
    outside, director = built.outside, built.director
    for host in (outside, director):
        host.create()
        host.sysctl(QUIET | {"ipv4/ip_forward": 1})
    director.ip(
        "link set lo up",
        f"link add front address {FRONT} type veth peer name gen address {GEN}"
        f" netns {outside.name}",
        f"link add back address {BACK} type veth peer name gone netns {outside.name}",
        "link set front up",
        "link set back up",
        "addr add 10.0.0.2/24 dev front",
        f"addr add {VIP}/32 dev front",
        f"addr add {REALS[1]}/{REALS.prefixlen} dev {leg}",
        f"neigh add 10.0.0.1 lladdr {GEN} dev front nud permanent",
        "route add default via 10.0.0.1",
        *(
            f"neigh add {address} lladdr {real_mac(address)} dev {leg} nud permanent"
            for address in map(real_address, range(reals))
        ),
    )
    outside.ip("link set gen up", "link set gone up")
    for sink in ("gen", "gone"):
        built.xdp(outside, sink, "sink")


def sweep_killed_runs() -> None:
    """Removes the namespaces of runs that were killed."""
    for path in NAMESPACES.iterdir() if NAMESPACES.is_dir() else ():
        found = re.fullmatch(rf"{PREFIX}(\d+)-\w+", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            Namespace(path.name).remove()
