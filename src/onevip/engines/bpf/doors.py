"""Doors: where the data plane meets an interface. Attaches, detaches, shows, follows.

The tc door is a pinned tcx link (Linux 6.6 and newer) or a clsact filter with a fixed handle
and priority; the xdp door is a pinned link in native mode, never generic.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf, loader
from onevip.engines.bpf.loader import DataPlane
from onevip.model import DataplaneError, UsageError

SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
CLSACT_HOOKS = (0xFFFFFFF2, 0xFFFFFFF3)  # ingress, egress (linux/pkt_sched.h)


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of this namespace."""

    index: int
    name: str
    has_ethernet: bool


@dataclass(frozen=True, slots=True)
class Door:
    """What `attach --show` says of one interface: its doors, and why."""

    interface: Interface
    doors: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class FilterSlot:
    """Where a program sits among clsact filters: we replace and remove nobody else's."""

    handle: int
    priority: int


TC_SLOT = FilterSlot(handle=0x6F76, priority=1)


def interfaces() -> list[Interface]:
    """The interfaces of this network namespace."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for index, name in socket.if_nameindex():
            request = struct.pack("16sH14x", name.encode(), 0)
            try:
                answer = fcntl.ioctl(any_socket, SIOCGIFHWADDR, request)
            except OSError:
                continue  # gone since it was listed
            kind = struct.unpack_from("=H", answer, 16)[0]
            found.append(Interface(index, name, kind in (ARPHRD_ETHER, ARPHRD_LOOPBACK)))
    return found


def interface(name: str) -> Interface:
    """The interface of that name. Raises UsageError."""
    for candidate in interfaces():
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in interfaces())
    raise UsageError(f"no interface {name} in this network namespace; there are {known}")


# A bpffs holds no regular files, so what has no kernel object is remembered beside it.


def _mark(name: str) -> None:
    directory = namespace.run_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / name).touch()


def _unmark(name: str) -> None:
    (namespace.run_directory() / name).unlink(missing_ok=True)


def _marked(name: str) -> bool:
    return (namespace.run_directory() / name).exists()


def link_lives(pinned: Path) -> bool:
    """Whether a pinned link still has its interface."""
    if not pinned.exists():
        return False
    link = libbpf.get_pinned(pinned)
    try:
        return libbpf.link_ifindex(link) != 0
    finally:
        os.close(link)


def _swap_link(pinned: Path, program: int) -> bool:
    """Give a living link another program. False: there is none (a dead one is unpinned)."""
    if not link_lives(pinned):
        pinned.unlink(missing_ok=True)
        return False
    link = libbpf.get_pinned(pinned)
    try:
        libbpf.link_update(link, program)
    finally:
        os.close(link)
    return True


def _pin_link(pinned: Path, link: int) -> None:
    try:
        libbpf.pin(link, pinned)
    finally:
        os.close(link)


def _no_filters(ifindex: int) -> bool:
    """Whether nobody has a filter at this interface's clsact hooks."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - edits of the table must not pay for it

    with IPRoute() as netlink:
        return not any(
            list(netlink.get_filters(index=ifindex, parent=parent)) for parent in CLSACT_HOOKS
        )


@dataclass(frozen=True, slots=True)
class Hook:
    """The tc ingress of one interface, for one of our programs. `name` tells pins apart."""

    links: Path
    where: Interface
    name: str
    slot: FilterSlot

    @property
    def _pinned(self) -> Path:
        return self.links / f"{self.name}-{self.where.index}"

    def _filter(self) -> int | None:
        return libbpf.clsact_program(self.where.index, self.slot.handle, self.slot.priority)

    def is_attached(self) -> bool:
        return link_lives(self._pinned) or self._filter() is not None

    def attach(self, program: int) -> None:
        """Attach, or swap what is attached for this program. Idempotent, loses no packet."""
        if _swap_link(self._pinned, program):
            return
        if self._filter() is None:
            try:
                link = libbpf.link_create(program, self.where.index, libbpf.ATTACH_TCX_INGRESS)
            except DataplaneError as error:
                if error.errno != errno.EINVAL:  # EINVAL: a kernel without tcx
                    raise
            else:
                _pin_link(self._pinned, link)
                return
        if libbpf.clsact_create(self.where.index):
            _mark(f"clsact-{self.where.index}")
        libbpf.clsact_attach(program, self.where.index, self.slot.handle, self.slot.priority)

    def detach(self) -> None:
        """Idempotent. A clsact qdisc goes only if we made it and nobody else uses it."""
        self._pinned.unlink(missing_ok=True)
        if self._filter() is None:
            return
        libbpf.clsact_detach(self.where.index, self.slot.handle, self.slot.priority)
        if _marked(f"clsact-{self.where.index}") and _no_filters(self.where.index):
            libbpf.clsact_destroy(self.where.index)
            _unmark(f"clsact-{self.where.index}")


class Doors:
    """The doors of one data plane. The caller holds the writer lock for every change."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._links = plane.path / "links"

    def _tc(self, where: Interface) -> Hook:
        return Hook(self._links, where, "tc", TC_SLOT)

    def _xdp(self, where: Interface) -> Path:
        return self._links / f"xdp-{where.index}"

    def attach(self, where: Interface, door: str) -> str:
        """Open a door by name. Returns what was done, for people."""
        _unmark(f"detached-{where.index}")
        self._attach_tc(where)
        if door != "xdp":
            return f"{where.name}: tc"
        try:
            self._attach_xdp(where)
        except DataplaneError as error:
            return f"{where.name}: tc, because {error}"
        return f"{where.name}: xdp, tc"

    def _attach_tc(self, where: Interface) -> None:
        if not where.has_ethernet:
            raise DataplaneError(
                f"attaching to {where.name}", "its packets have no Ethernet header: not supported"
            )
        program = self._plane.program("onevip_tc")
        try:
            self._tc(where).attach(program)
        finally:
            os.close(program)

    def _attach_xdp(self, where: Interface) -> None:
        if where.name == "lo" or not where.has_ethernet:
            raise DataplaneError(f"xdp on {where.name}", "this interface has no driver for it")
        program = loader.load_xdp(self._plane)
        try:
            if not _swap_link(self._xdp(where), program):
                link = libbpf.link_create(
                    program, where.index, libbpf.ATTACH_XDP, libbpf.XDP_FLAGS_DRV_MODE
                )
                _pin_link(self._xdp(where), link)
        except DataplaneError as error:
            reasons = {
                errno.EOPNOTSUPP: "its driver has no native XDP",
                errno.EINVAL: "its driver has no native XDP, or the MTU is too large for it",
                errno.EBUSY: "another XDP program is attached to it",
                errno.ERANGE: "the MTU is too large for XDP",
            }
            reason = reasons.get(error.errno, str(error))
            raise DataplaneError(f"xdp on {where.name}", reason, error.errno) from None
        finally:
            os.close(program)

    def detach(self, where: Interface, door: str) -> None:
        """Close the xdp door, or (tc) both; the daemon leaves such an interface alone."""
        self._xdp(where).unlink(missing_ok=True)
        if door != "xdp":
            self._tc(where).detach()
            _mark(f"detached-{where.index}")

    def detach_all(self) -> None:
        """Close every door, as if they had never been opened."""
        for where in interfaces():
            self._xdp(where).unlink(missing_ok=True)
            self._tc(where).detach()
            _unmark(f"detached-{where.index}")

    def follow(self) -> list[str]:
        """Open the tc door of every interface that lacks it; drop pins of interfaces that went.

        Returns what could not be attached, in words. Interfaces detached by hand stay so.
        """
        problems = []
        for pinned in self._links.iterdir():
            if not link_lives(pinned):
                pinned.unlink()
        for where in interfaces():
            if not where.has_ethernet or _marked(f"detached-{where.index}"):
                continue
            if self._tc(where).is_attached():
                continue
            try:
                self._attach_tc(where)
            except DataplaneError as error:
                problems.append(str(error))
        return problems

    def show(self) -> list[Door]:
        """Every interface with its doors."""
        return [self._shown(where) for where in interfaces()]

    def _shown(self, where: Interface) -> Door:
        has_xdp, has_tc = link_lives(self._xdp(where)), self._tc(where).is_attached()
        names = (("xdp",) if has_xdp else ()) + (("tc",) if has_tc else ())
        if not where.has_ethernet:
            why = "its packets have no Ethernet header"
        elif _marked(f"detached-{where.index}"):
            why = "detached by hand"
        elif has_xdp:
            why = "xdp asked for by name; tc takes what it leaves"
        elif has_tc:
            why = "every interface has it"
        else:
            why = "new: the daemon or the next service attaches it"
        return Door(where, names, why)
