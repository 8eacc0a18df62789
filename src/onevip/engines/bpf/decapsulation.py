"""A real server's end of ipip tunnels: takes off the outer header of packets to its VIPs.

Works with and without the kernel's tunnel modules. Pinned beside a director's data plane, in
`real/`; all interfaces with Ethernet headers get it, because any may bring a tunnelled packet.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf, loader, pins
from onevip.engines.bpf.doors import Hook, Place, interfaces
from onevip.engines.bpf.maps import Hash

#: Behind the director's own program: a machine may be both.
PLACE = Place("decap", handle=0x6F64, priority=2)


def _directory(base: Path) -> Path:
    return base / f"{namespace.identity()}-real"


def _vips(directory: Path) -> Hash:
    return Hash(libbpf.get_pinned(directory / "vips"), 4)


def _load(base: Path) -> Path:
    """Load and pin the program if need be. A killed load leaves nothing that counts."""
    loader.require_kernel()
    directory = _directory(base)
    if directory.exists():
        return directory
    pins.sweep_dead(base)
    unfinished = base / f"{directory.name}-new"
    try:
        (unfinished / "links").mkdir(mode=0o700, parents=True)
        loaded = libbpf.Object(loader.object_path("decap"))
        libbpf.pin(loaded.maps["decap_vips"], unfinished / "vips")
        libbpf.pin(loaded.programs["onevip_decap"], unfinished / "program")
        loaded.close()
        unfinished.rename(directory)
    except BaseException:
        if unfinished.exists():
            pins.remove_tree(unfinished)
        raise
    return directory


def add(vip: IPv4Address) -> None:
    """Decapsulate packets to this VIP, on every interface. Idempotent."""
    with pins.writer_lock() as base:
        directory = _load(base)
        program = libbpf.get_pinned(directory / "program")
        try:
            for where in interfaces():
                if where.has_ethernet:
                    Hook(directory / "links", where, PLACE).attach(program)
        finally:
            os.close(program)
        _vips(directory).set(vip.packed, 1)


def remove(vip: IPv4Address) -> None:
    """No longer decapsulate for this VIP; with the last one everything goes. Idempotent."""
    with pins.writer_lock() as base:
        directory = _directory(base)
        if not directory.exists():
            return
        served = _vips(directory)
        served.delete(vip.packed)
        if served.keys():
            return
        for where in interfaces():
            Hook(directory / "links", where, PLACE).detach()
        pins.retire(directory)


def vips() -> set[IPv4Address]:
    """The VIPs that packets are decapsulated for."""
    base = pins.root()
    if base is None or not _directory(base).exists():
        return set()
    return {IPv4Address(key) for key in _vips(_directory(base)).keys()}  # noqa: SIM118 - no dict
