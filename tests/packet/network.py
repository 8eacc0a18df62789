"""The director's network of the packet tests, in a namespace of its own. Nothing else lives there.

    clients 10.0.64.0/18 - router - front | director | back - real servers 10.1.0.0/16

Only the director exists: neighbours are static entries, so that next hops resolve.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onevip.lab.cluster import uninterrupted

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
ROUTER, FRONT, BACK = "02:00:00:00:00:01", "02:00:00:00:00:0f", "02:00:00:00:00:0b"
MANY = 220


def real_address(number: int) -> str:
    return f"10.1.{number >> 8}.{number & 255}"


def real_mac(number: int) -> str:
    return f"02:00:0a:01:{number >> 8:02x}:{number & 255:02x}"


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
neigh add 10.0.0.1 lladdr {ROUTER} dev front nud permanent
route add default via 10.0.0.1
"""


def ip(commands: str) -> None:
    """Several `ip` commands in the namespace that we are in."""
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)


@contextmanager
def director_namespace() -> Iterator[None]:
    """This thread inside a new namespace `onevip-p<pid>`, which is gone afterwards."""
    sweep_killed_runs()
    name = f"onevip-p{os.getpid()}"
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        there = os.open(NAMED / name, os.O_RDONLY)
        _enter(there)
        os.close(there)
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        neighbours = (
            f"neigh add {real_address(n)} lladdr {real_mac(n)} dev back nud permanent\n"
            for n in range(10, 10 + MANY)
        )
        ip(LINKS + "".join(neighbours))
        yield
    finally:
        with uninterrupted():
            _enter(home)
            os.close(home)
            subprocess.run(["ip", "netns", "delete", name], check=True)


def sweep_killed_runs() -> None:
    """Removes the namespaces of test runs that were killed."""
    for path in NAMED.iterdir() if NAMED.is_dir() else ():
        found = re.fullmatch(r"onevip-p(\d+)", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            subprocess.run(["ip", "netns", "delete", path.name], check=True)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
