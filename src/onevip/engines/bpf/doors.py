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
from onevip.engines.bpf import libbpf, loader, pair
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import Limits, SlotState
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
    mac: bytes


@dataclass(frozen=True, slots=True)
class Door:
    """What `attach --show` says of one interface: its doors, and why."""

    interface: Interface
    doors: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program of ours goes: its name in pins, and its place among clsact filters.

    The fixed handle and priority make sure that we replace and remove nobody else's.
    """

    name: str
    handle: int
    priority: int = 1
    is_egress: bool = False

    @property
    def tcx(self) -> int:
        return libbpf.ATTACH_TCX_EGRESS if self.is_egress else libbpf.ATTACH_TCX_INGRESS

    @property
    def clsact(self) -> tuple[int, int, int]:
        """Hook point, handle and priority."""
        point = libbpf.TC_EGRESS if self.is_egress else libbpf.TC_INGRESS
        return (point, self.handle, self.priority)


TC = Place("tc", handle=0x6F76)
TC_EGRESS = Place("egress", handle=0x6F76, is_egress=True)


def interfaces() -> list[Interface]:
    """The interfaces of this network namespace."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for index, name in socket.if_nameindex():
            request = struct.pack("16sH14x", os.fsencode(name), 0)
            try:
                answer = fcntl.ioctl(any_socket, SIOCGIFHWADDR, request)
            except OSError:
                continue  # gone since it was listed
            kind = struct.unpack_from("=H", answer, 16)[0]
            has_ethernet = kind in (ARPHRD_ETHER, ARPHRD_LOOPBACK)
            found.append(Interface(index, name, has_ethernet, answer[18:24]))
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


def _forget_interfaces(but: set[int]) -> None:
    """What is remembered of interfaces that went: an index is used again."""
    directory = namespace.run_directory()
    for kind in ("clsact", "detached"):
        for mark in directory.glob(f"{kind}-*"):
            if int(mark.name.removeprefix(f"{kind}-")) not in but:
                mark.unlink(missing_ok=True)


def _swap_link(pinned: Path, program: int) -> bool:
    """Give a living link another program. False: there is none (a dead one is unpinned)."""
    if not libbpf.link_lives(pinned):
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


def tcx_link(program: int, where: Interface, place: Place) -> int | None:
    """A descriptor that holds the program there until it is closed; None: a kernel without tcx."""
    try:
        return libbpf.link_create(program, where.index, place.tcx)
    except DataplaneError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


@dataclass(frozen=True, slots=True)
class Filter:
    """A tc hook on kernels without tcx: a clsact filter of ours, which nobody needs to hold."""

    where: Interface
    place: Place

    def is_attached(self) -> bool:
        return libbpf.clsact_program(self.where.index, *self.place.clsact) is not None

    def attach(self, program: int) -> None:
        """Attach, or swap what is attached for this program. Idempotent, loses no packet."""
        if libbpf.clsact_create(self.where.index):
            _mark(f"clsact-{self.where.index}")
        libbpf.clsact_attach(program, self.where.index, *self.place.clsact)

    def detach(self) -> None:
        """Idempotent. The clsact qdisc goes only if we made it and nobody else uses it."""
        if not self.is_attached():
            return
        libbpf.clsact_detach(self.where.index, *self.place.clsact)
        if _marked(f"clsact-{self.where.index}") and _no_filters(self.where.index):
            libbpf.clsact_destroy(self.where.index)
            _unmark(f"clsact-{self.where.index}")


@dataclass(frozen=True, slots=True)
class Hook:
    """A tc hook of one interface, for one of our programs: a pinned tcx link or a filter."""

    links: Path
    where: Interface
    place: Place

    @property
    def _pinned(self) -> Path:
        return self.links / f"{self.place.name}-{self.where.index}"

    @property
    def _filter(self) -> Filter:
        return Filter(self.where, self.place)

    def is_attached(self) -> bool:
        return libbpf.link_lives(self._pinned) or self._filter.is_attached()

    def attach(self, program: int) -> None:
        """Attach, or swap what is attached for this program. Idempotent, loses no packet."""
        if _swap_link(self._pinned, program):
            return
        has_filter = self._filter.is_attached()
        link = None if has_filter else tcx_link(program, self.where, self.place)
        if link is None:
            self._filter.attach(program)
        else:
            _pin_link(self._pinned, link)

    def detach(self) -> None:
        """Idempotent."""
        self._pinned.unlink(missing_ok=True)
        self._filter.detach()


class Doors:
    """The doors of one data plane. The caller holds the writer lock for every change."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._links = plane.path / "links"

    def _tc(self, where: Interface) -> Hook:
        return Hook(self._links, where, TC)

    def _egress(self, where: Interface) -> Hook:
        return Hook(self._links, where, TC_EGRESS)

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
        self._put("onevip_tc", self._tc(where))
        if self._serves_here():
            self._put("onevip_tc_egress", self._egress(where))

    def _put(self, name: str, hook: Hook) -> None:
        program = self._plane.program(name)
        try:
            hook.attach(program)
        finally:
            os.close(program)

    def _serves_here(self) -> bool:
        """Whether this machine is a real server of its own: then its replies must be seen."""
        reals, counts = self._plane.reals, self._plane.real_counts
        used = self._plane.settings.get(0, "reals_used")
        states, local = reals.column("state", used), reals.column("local", used)
        return any(
            here and state and (state == SlotState.SLOT_USED or counts.get(slot, "counts"))
            for slot, (state, here) in enumerate(zip(states, local, strict=True))
        )

    def _attach_xdp(self, where: Interface) -> None:
        if where.name == "lo" or not where.has_ethernet:
            raise DataplaneError(f"xdp on {where.name}", "this interface has no driver for it")
        if where.name in (pair.OUT, pair.IN):
            raise DataplaneError(f"xdp on {where.name}", "xdp does not see the firewall's marks")
        program = loader.load_xdp(self._plane)
        self._write_mac(where)
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

    def _write_mac(self, where: Interface) -> None:
        """By which the xdp program knows what is for us: a driver may bring more."""
        macs, place = self._plane.own_macs, where.index % Limits.XDP_PLACES
        macs.set(place, "mac", 1 << 63 | int.from_bytes(where.mac, "little"))
        macs.set(place, "is_device", Path(f"/sys/class/net/{where.name}/device").exists())
        macs.set(place, "interface", where.index)

    def detach(self, where: Interface, door: str) -> None:
        """Close the xdp door, or (tc) both; the daemon leaves such an interface alone."""
        self._xdp(where).unlink(missing_ok=True)
        if door != "xdp":
            self._tc(where).detach()
            self._egress(where).detach()
            _mark(f"detached-{where.index}")

    def detach_all(self) -> None:
        """Close every door, as if they had never been opened."""
        for where in interfaces():
            self._xdp(where).unlink(missing_ok=True)
            self._tc(where).detach()
            self._egress(where).detach()
        _forget_interfaces(set())

    def follow(self) -> list[str]:
        """Open the tc door of every interface that lacks it; drop pins of interfaces that went.

        Returns what could not be attached, in words. Interfaces detached by hand stay so.
        """
        problems = []
        for pinned in self._links.iterdir():
            if not libbpf.link_lives(pinned):
                pinned.unlink()
        wants_egress, present = self._serves_here(), interfaces()
        _forget_interfaces({where.index for where in present})
        for where in present:
            if not self._is_followed(where):
                continue
            egress = self._egress(where)
            if libbpf.link_lives(self._xdp(where)):
                self._write_mac(where)
            try:
                if not self._tc(where).is_attached() or (wants_egress and not egress.is_attached()):
                    self._attach_tc(where)
                elif not wants_egress and egress.is_attached():
                    egress.detach()
            except DataplaneError as error:
                problems.append(str(error))
        return problems

    @staticmethod
    def _is_followed(where: Interface) -> bool:
        return where.has_ethernet and not _marked(f"detached-{where.index}")

    def lacks_tc(self, where: Interface) -> bool:
        """Whether `follow` would open its tc door."""
        return self._is_followed(where) and not self._tc(where).is_attached()

    def swap(self) -> None:
        """Give every open door the programs that are pinned now, without losing a packet."""
        for where in interfaces():
            if self._tc(where).is_attached():
                self._attach_tc(where)
            if libbpf.link_lives(self._xdp(where)):
                self._attach_xdp(where)

    def show(self) -> list[Door]:
        """Every interface with its doors."""
        return [self._shown(where) for where in interfaces()]

    def _shown(self, where: Interface) -> Door:
        has_xdp, has_tc = libbpf.link_lives(self._xdp(where)), self._tc(where).is_attached()
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
