"""The director's network, in a namespace of its own.

    clients 10.64.0.0/16 - router - front | director | back - real servers 10.1.0.0/16

Only the director exists: neighbours are static entries.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from onevip.lab.namespace import NAMESPACES, Namespace

PREFIX = "onevip-bench"
CLONE_NEWNET = 0x40000000
ROUTER, FRONT, BACK = "02:00:00:00:00:01", "02:00:00:00:00:0f", "02:00:00:00:00:0b"
REAL_MAC = "02:00:0a:01:00:01"
VIP, VIP6 = IPv4Address("10.0.0.100"), IPv6Address("fd00::100")
PORT = 80
FIRST_REAL, FIRST_REAL6 = IPv4Address("10.1.0.10"), IPv6Address("fd00:1::10")
MOST_REALS = 1000
LINKS = f"""\
link set lo up
link add front address {FRONT} type veth peer name front-peer
link add back address {BACK} type veth peer name back-peer
link set front-peer up
link set back-peer up
link set front up
link set back up
addr add 10.0.0.2/24 dev front
addr add 10.1.0.1/16 dev back
addr add fd00::2/64 dev front nodad
addr add fd00:1::1/64 dev back nodad
neigh add 10.0.0.1 lladdr {ROUTER} dev front nud permanent
neigh add fd00::1 lladdr {ROUTER} dev front nud permanent
route add default via 10.0.0.1
route add default via fd00::1"""


@contextmanager
def namespace() -> Iterator[None]:
    """This thread inside a new network namespace, which is gone afterwards."""
    for path in NAMESPACES.glob(f"{PREFIX}*") if NAMESPACES.is_dir() else ():
        found = re.fullmatch(rf"{PREFIX}(\d+)", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            Namespace(path.name).remove()  # of a run that was killed
    here = Namespace(f"{PREFIX}{os.getpid()}")
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    here.create()
    try:
        there = os.open(NAMESPACES / here.name, os.O_RDONLY)
        _enter(there)
        os.close(there)
        neighbours = (
            f"neigh add {first + n} lladdr {REAL_MAC} dev back nud permanent"
            for first in (FIRST_REAL, FIRST_REAL6)
            for n in range(MOST_REALS)
        )
        here.ip(*LINKS.splitlines(), *neighbours)
        yield
    finally:
        _enter(home)
        os.close(home)
        here.remove()


def _enter(there: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(there, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
