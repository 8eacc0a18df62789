"""ov0 and ov1: a pair of virtual interfaces in the director's own namespace. What goes out of ov0
comes in at ov1. Makes, repairs and removes them; touches no others.

They are known by their names, their kind and their MAC. They have no address, no IPv6 and no ARP.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from pathlib import Path

from onevip.engines.bpf import netlink
from onevip.engines.bpf.netlink import attribute
from onevip.model import DataplaneError

OUT, IN = "ov0", "ov1"
#: "ovmk", locally administered. One for both: without ARP, frames are sent to one's own.
MAC = bytes.fromhex("02006f766d6b")
MTU = 65535  # of packets that the IP stack has put together again: it fragments them as they came

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_ADDRESS, _NAME, _MTU, _LINKINFO = 1, 3, 4, 18
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_UP, _NO_ARP = 0x1, 0x80
_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, which flags change

#: Loose: what the door leaves goes to this machine, though the way back leads elsewhere.
_SETTINGS = {
    f"ipv4/conf/{IN}/rp_filter": "2",
    f"ipv6/conf/{OUT}/disable_ipv6": "1",
    f"ipv6/conf/{IN}/disable_ipv6": "1",
}
_SYS_NET = Path("/proc/sys/net")


@dataclass(frozen=True, slots=True)
class _Link:
    index: int
    flags: int
    attributes: dict[int, bytes]

    @property
    def is_ours(self) -> bool:
        kind = netlink.attributes(self.attributes.get(_LINKINFO, b"")).get(_INFO_KIND)
        return kind == b"veth\0" and self.attributes.get(_ADDRESS) == MAC

    @property
    def is_right(self) -> bool:
        mtu = int.from_bytes(self.attributes.get(_MTU, b""), "little")
        flags = _UP | _NO_ARP
        return self.is_ours and self.flags & flags == flags and mtu == MTU


def _find(name: str) -> _Link | None:
    question = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_NAME, name.encode() + b"\0")
    try:
        (answer,) = netlink.ask(netlink.ROUTE, _RTM_GETLINK, 0, question)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _, _, index, flags, _ = _IFINFO.unpack_from(answer)
    return _Link(index, flags, netlink.attributes(answer[_IFINFO.size :]))


def _differing_settings() -> dict[Path, str]:
    """Those that are not as they should be; a kernel without IPv6 has fewer."""
    paths = {_SYS_NET / name: value for name, value in _SETTINGS.items()}
    return {
        path: value
        for path, value in paths.items()
        if path.exists() and path.read_text().strip() != value
    }


def exists() -> bool:
    """Whether there is one of them that is ours."""
    return any(link is not None and link.is_ours for link in map(_find, (OUT, IN)))


def is_right() -> bool:
    """Whether both are there, ours and as they should be."""
    links = [_find(OUT), _find(IN)]
    return all(link and link.is_right for link in links) and not _differing_settings()


def make() -> None:
    """Both as they should be; idempotent. Raises DataplaneError, also for another's ov0 or ov1."""
    try:
        links = {name: _find(name) for name in (OUT, IN)}
        for name, link in links.items():
            if link is not None and not link.is_ours:
                raise DataplaneError(
                    f"making {OUT} and {IN} for packets with a mark",
                    f"there is an interface {name} that is not ours: rename it",
                )
        if None in links.values():
            remove()
            _create()
        for path, value in _differing_settings().items():
            path.write_text(f"{value}\n")
        for name in (OUT, IN):
            _bring_up(name)
    except OSError as error:
        raise DataplaneError(
            f"making {OUT} and {IN} for packets with a mark",
            f"{error.strerror}: this needs CAP_NET_ADMIN and a kernel with veth",
            error.errno or 0,
        ) from error


def _create() -> None:
    """Down: before they come up they are told to have no IPv6, and so no address."""
    described = attribute(_ADDRESS, MAC) + attribute(_MTU, struct.pack("=I", MTU))
    peer = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_NAME, IN.encode() + b"\0") + described
    data = attribute(_INFO_DATA, attribute(_VETH_PEER, peer))
    info = attribute(_LINKINFO, attribute(_INFO_KIND, b"veth"), data)
    pair = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_NAME, OUT.encode() + b"\0") + described + info
    flags = netlink.CREATE | netlink.EXCLUSIVE
    netlink.ask(netlink.ROUTE, _RTM_NEWLINK, flags, pair)


def _bring_up(name: str) -> None:
    link = _find(name)
    if link is None:
        raise OSError(errno.ENODEV, f"{name} has just gone")
    flags = _UP | _NO_ARP
    wanted = _IFINFO.pack(0, 0, link.index, flags, flags) + attribute(_MTU, struct.pack("=I", MTU))
    netlink.ask(netlink.ROUTE, _RTM_NEWLINK, 0, wanted)


def remove() -> None:
    """Idempotent; each takes the other with it."""
    for name in (OUT, IN):
        link = _find(name)
        if link is not None and link.is_ours:
            question = _IFINFO.pack(0, 0, link.index, 0, 0)
            netlink.ask(netlink.ROUTE, _RTM_DELLINK, 0, question)
