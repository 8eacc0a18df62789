"""Which services are this daemon's, across restarts, and that there is one daemon a file.

In the run directory for each configuration file: a lock, which the kernel releases whatever ends
the daemon, a list of services, written before the table is changed, and notes of its rows (see
notes.py). A service that no daemon made is in no list and is never touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onevip.daemon.notes import Notes, key_of, key_words
from onevip.model import OnevipError, ServiceKey

log = logging.getLogger(__name__)


#: Bytes of a file's name in the names of its daemon's files; that of a socket is short.
MAX_STEM = 48


def name_of(configuration_file: str) -> str:
    """What the daemon of this file calls its files: `lb-0a1b2c3d`."""
    file = Path(configuration_file).resolve()
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
    return f"{os.fsencode(file.stem)[:MAX_STEM].decode(errors='ignore')}-{digest}"


class AlreadyRunning(OnevipError):
    """Another daemon does this work already."""


class BelongsToAnother(OnevipError):
    """A service that this configuration names is another running daemon's."""


class Ownership:
    """The services that the daemon of one configuration file named or made."""

    def __init__(self, directory: Path, configuration_file: str) -> None:
        self.directory = directory
        self.file = Path(configuration_file).resolve()
        self.name = name_of(configuration_file)
        self._list = directory / f"{self.name}.services.json"
        self._lock = -1
        self.services: frozenset[ServiceKey] = frozenset()
        self.notes = Notes(directory / f"{self.name}.rows.jsonl")

    def acquire(self) -> None:
        """Become the daemon of this file. Raises AlreadyRunning, OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self._lock = os.open(_lock_of(self._list), os.O_RDWR | os.O_CREAT, 0o600)
            if not _locked(self._lock):
                holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
                self._unlock()
                raise AlreadyRunning(
                    f"a daemon for {self.file} runs already (pid {holder or 'unknown'}): "
                    "stop it first, or let it reload by SIGHUP"
                )
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.services = frozenset(_read(self._list))
        self.notes.load()

    def release(self) -> None:
        """Let the next daemon in. What is to be remembered stays for it; empty files go."""
        if self._lock >= 0:
            self.notes.close()
        if self._lock >= 0 and not self.services:
            with suppress(FileNotFoundError), self._alone():  # all of it may have gone meanwhile
                self._list.unlink(missing_ok=True)
                _lock_of(self._list).unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def holder(self) -> int | None:
        """The pid of the daemon that runs for this file; None without one, or unless root asks."""
        with suppress(OSError), self._alone():
            lock = os.open(_lock_of(self._list), os.O_RDWR)
            try:
                words = b"" if _locked(lock) else os.pread(lock, 32, 0)
            finally:
                os.close(lock)
            return int(words) if words.strip().isdigit() else None
        return None

    def of_others(self) -> dict[ServiceKey, str]:
        """The services of the other daemons that run in this directory, and their files."""
        found: dict[ServiceKey, str] = {}
        with self._alone():
            for path in sorted(self.directory.glob("*.services.json")):
                if path != self._list and _is_locked(_lock_of(path)):
                    found |= _read(path)
        return found

    def remembered(self) -> frozenset[ServiceKey]:
        """The services of this file's daemon, whether it runs or not: for who only looks."""
        return frozenset(_read(self._list))

    def claim(self, named: Iterable[ServiceKey]) -> None:
        """Before a change: what is named is ours from now on, beside what was."""
        self._keep(self.services | frozenset(named))

    def settle(self, named: Iterable[ServiceKey]) -> None:
        """After a change: only these are left in the table."""
        self._keep(frozenset(named))

    def _keep(self, services: frozenset[ServiceKey]) -> None:
        if services == self.services:
            return
        self.services = services
        rows = [key_words(key) for key in sorted(services, key=lambda key: key.order)]
        text = json.dumps({"version": 1, "file": str(self.file), "services": rows}, indent=1)
        draft = self._list.with_suffix(".new")
        try:
            draft.write_text(text + "\n")
            draft.replace(self._list)
        except OSError as error:
            # The table matters more: at worst a service outlives its line in the file.
            log.warning("%s cannot be written: %s", self._list, error.strerror)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While one daemon looks whether others run, none begins."""
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _lock_of(services: Path) -> Path:
    return services.with_name(services.name.removesuffix(".services.json") + ".lock")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR)
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[ServiceKey, str]:
    """A list's services and its file; none, with a warning, when it cannot be understood."""
    try:
        kept = json.loads(path.read_text())
        return {key_of(words): kept["file"] for words in kept["services"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning(
            "%s is damaged (%s: %s): services that a former daemon made and the configuration "
            "does not name stay in the table",
            *(path, type(error).__name__, error),
        )
        return {}
