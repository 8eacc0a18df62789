"""Checks that go along the data path: attaches bpf/checkpath.bpf.c while some check needs it.

The sockets of probes bear marks; each mark leads through one service to one real server, whatever
the table says of them. Nothing is pinned: maps, programs and tcx links end with this process,
however it ends, as its probes do. On kernels without tcx filters stay behind a killed one, until
the next daemon comes or the data plane is unloaded (`sweep`).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf, loader, pair, routes
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.doors import Filter, Interface, Place, interfaces, tcx_link
from onevip.engines.bpf.shapes import Method
from onevip.model import CheckPath, DataplaneError, ForwardingMethod

#: Marks are 0x6f7NPPPP: one of sixteen daemons in this network namespace, one of its paths; bits
#: 14 and 15 are kube-proxy's.
MARKS = 0x6F70_0000
DAEMONS = 16
DAEMON_SHIFT = 16
PATHS = 1 << 14  # as many as the map has room for
STEP = "checks by way of the VIP"
_METHODS = {
    ForwardingMethod.GATE: Method.METHOD_GATE,
    ForwardingMethod.IPIP: Method.METHOD_IPIP,
}
_VALUE = struct.Struct("=16s16sII")  # shapes.CHECK_PATH
_NOT_HERE = ("lo", pair.OUT, pair.IN)


def leads_out(path: CheckPath, bare: Container[int] = ()) -> bool:
    """Whether a probe can go this way: IPv4, to another machine, by gate or ipip.

    `bare`: interfaces without Ethernet header, which have no programs. A real server without a
    route may yet get one.
    """
    if path.method not in _METHODS or path.service.mark:
        return False
    if path.service.address.version != 4 or path.real.address.version != 4:
        return False
    route = routes.ask(path.real.address)
    return not route.is_local and route.interface not in bare


def _places(number: int) -> dict[str, Place]:
    """Where the programs of the daemon of this number go: behind the director's own."""
    priority = 16 + number
    return {
        "onevip_check_in": Place("check-in", 0x6F63, priority),
        "onevip_check_out": Place("check-out", 0x6F63, priority, is_egress=True),
    }


@dataclass(frozen=True, slots=True)
class _Held:
    """A program at an interface: by a link while this process lives, or by a filter."""

    filter: Filter
    link: int | None

    def is_attached(self) -> bool:
        if self.link is not None:
            return libbpf.link_ifindex(self.link) != 0
        return self.filter.is_attached()

    def release(self) -> None:
        if self.link is not None:
            os.close(self.link)
        else:
            self.filter.detach()


class CheckPaths:
    """The paths of one daemon's checks. The caller holds the writer lock for everything."""

    def __init__(self) -> None:
        self._number = -1
        self._lock = -1
        self._loaded: libbpf.Object | None = None
        self._marks: dict[CheckPath, int] = {}
        self._next = 0
        self._held: dict[tuple[int, str], _Held] = {}

    @property
    def are_used(self) -> bool:
        return self._loaded is not None

    def use(self, paths: Iterable[CheckPath]) -> dict[CheckPath, int]:
        """Make these the paths, and their marks; those that lead nowhere are left out.

        With none, everything goes. Raises DataplaneError; then there are none.
        """
        bare = {one.index for one in interfaces() if not one.has_ethernet}
        wanted = {path for path in paths if leads_out(path, bare)}
        sweep()
        if not wanted:
            self.end()
            return {}
        if len(wanted) > PATHS:
            self.end()
            raise DataplaneError(STEP, f"{len(wanted)} of them: {PATHS} is the limit of a daemon")
        try:
            self._load()
            self._write(wanted)
            problems = self.follow()
            if problems and not self._held:
                raise DataplaneError(STEP, problems[0])
        except BaseException:
            self.end()
            raise
        return dict(self._marks)

    def follow(self) -> list[str]:
        """Attach to every interface that lacks the programs. Returns problems in words."""
        loaded = self._loaded
        if loaded is None:
            return []
        present = {one.index: one for one in interfaces() if _is_followed(one)}
        for key, held in list(self._held.items()):
            if key[0] not in present or not held.is_attached():
                held.release()
                del self._held[key]
        problems = []
        for where in present.values():
            for name, place in _places(self._number).items():
                if (where.index, name) in self._held:
                    continue
                try:
                    self._held[where.index, name] = _attach(loaded.programs[name], where, place)
                except DataplaneError as error:
                    problems.append(f"{STEP}: {where.name}: {error}")
        return problems

    def end(self) -> None:
        """As if there had never been a path. Idempotent."""
        for held in self._held.values():
            held.release()
        self._held.clear()
        self._marks.clear()
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None
        if self._lock >= 0:
            _file(self._number).unlink(missing_ok=True)
            os.close(self._lock)
            self._number = self._lock = -1

    def _load(self) -> None:
        if self._loaded is None:
            loader.require_kernel()
            self._number, self._lock = _claim()
            self._loaded = libbpf.Object(loader.object_path("checkpath"))

    def _write(self, wanted: set[CheckPath]) -> None:
        assert self._loaded is not None
        ways = self._loaded.maps["check_paths"]
        for path in self._marks.keys() - wanted:
            libbpf.map_delete(ways, struct.pack("=I", self._marks.pop(path)))
        taken = set(self._marks.values())
        for path in wanted - self._marks.keys():
            mark = self._new_mark(taken)
            taken.add(mark)
            vip, real = packed(path.service.address), packed(path.real.address)
            value = _VALUE.pack(vip, real, _METHODS[path.method], 0)
            libbpf.map_update(ways, struct.pack("=I", mark), value)
            self._marks[path] = mark

    def _new_mark(self, taken: set[int]) -> int:
        """Another one each time: a probe that still runs shall not be led to another server."""
        while True:
            self._next = (self._next + 1) % PATHS
            mark = MARKS + (self._number << DAEMON_SHIFT) + self._next
            if mark not in taken:
                return mark


def _is_followed(where: Interface) -> bool:
    return where.has_ethernet and where.name not in _NOT_HERE


def _attach(program: int, where: Interface, place: Place) -> _Held:
    filter_ = Filter(where, place)
    link = tcx_link(program, where, place)
    if link is None:
        filter_.attach(program)
    return _Held(filter_, link)


# Which daemons there are: each holds the lock of a file, which is free when it has ended.


def _file(number: int) -> Path:
    return namespace.run_directory() / f"checks-{number}"


def _locked(file: Path) -> int | None:
    """Its descriptor with the lock, or None: a daemon that lives has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _claim() -> tuple[int, int]:
    """A number that no living daemon here has, and its lock."""
    namespace.run_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(DAEMONS):
        lock = _locked(_file(number))
        if lock is not None:
            return number, lock
    raise DataplaneError(STEP, f"{DAEMONS} daemons here have such checks: that is the limit")


def sweep() -> None:
    """Take away what killed daemons left behind. The caller holds the writer lock."""
    for number in _known():
        lock = _locked(_file(number))
        if lock is None:  # it lives; perhaps it is this process
            continue
        for where in interfaces():
            for place in _places(number).values():
                Filter(where, place).detach()
        _file(number).unlink(missing_ok=True)
        os.close(lock)


def _known() -> Iterator[int]:
    for file in namespace.run_directory().glob("checks-*"):
        yield int(file.name.removeprefix("checks-"))
