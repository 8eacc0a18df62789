"""Which network namespace this process is in, and where onevip keeps files about it. No room."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

RUN = Path("/run/onevip")
SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14


def inode() -> int:
    """The inode of /proc/self/ns/net; reused after a namespace has gone."""
    return Path("/proc/self/ns/net").stat().st_ino


def cookie() -> int:
    """The kernel's number of this namespace: unique since boot, never reused.

    0 on a kernel that has none; it is too old for everything else, and loading says so.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        try:
            raw = anything.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(raw, sys.byteorder)


def identity() -> str:
    """`<inode>-<cookie>`: names this namespace's directories; sure even after reuse of inodes."""
    return f"{inode()}-{cookie()}"


def run_directory() -> Path:
    """Where regular files about this namespace lie; not created here."""
    return RUN / identity()
