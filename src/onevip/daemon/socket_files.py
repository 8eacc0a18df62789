"""The names of a daemon's control socket: its own, and `control.sock` for one daemon of many.

A socket that a killed daemon left is replaced. Who may answer as `control.sock` is decided by a
lock that the kernel releases; the name is a second link to the holder's own socket.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SHARED = "control.sock"
SUFFIX = ".sock"


class SocketFiles:
    """Of the daemon called `name` (ownership.name_of), whose lock it holds."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._own = directory / f"{name}{SUFFIX}"
        self._shared = directory / SHARED
        self._shared_lock = directory / "control.lock"
        self._lock = -1

    def bind(self) -> socket.socket:
        """A socket that listens at the daemon's own name, 0600. Raises OSError."""
        self._own.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            os.fchmod(bound.fileno(), 0o600)  # what bind() makes has this mode from the beginning
            with short_path(self._own) as path:
                bound.bind(path)
            bound.listen()
        except BaseException:
            bound.close()
            raise
        return bound

    def hold(self) -> bool:
        """Be `control.sock` too, unless another daemon is. Raises OSError."""
        if self._lock >= 0:
            return True
        lock = os.open(self._shared_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_the_file = os.fstat(lock).st_ino == self._shared_lock.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            is_the_file = False  # another one's, or on its way out
        except BaseException:
            os.close(lock)
            raise
        if not is_the_file:
            os.close(lock)
            return False
        self._lock = lock
        draft = self._own.with_suffix(".link")
        draft.unlink(missing_ok=True)
        draft.hardlink_to(self._own)
        draft.replace(self._shared)
        return True

    def remove(self) -> None:
        """The end of the daemon: its names go, `control.sock` to the next one."""
        with suppress(OSError):
            if self._lock >= 0:
                self._shared.unlink(missing_ok=True)
                self._shared_lock.unlink(missing_ok=True)
            self._own.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The path in a form that fits a socket's address, which has room for 107 bytes."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def of_daemons(directory: Path) -> list[Path]:
    """The sockets of all daemons here, those included that a killed one left.

    Raises OSError for a directory that may not be read.
    """
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return []  # no daemon was ever here
    return [path for path in paths if path.suffix == SUFFIX and path.name != SHARED]
