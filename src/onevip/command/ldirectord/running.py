"""Whether a daemon runs for a configuration file, whoever started it and however.

Ours holds the lock of its file (`daemon.ownership`), with or without a pid file. A daemon that
holds none, Debian's ldirectord for one, is known by its pid file: the process must be an ldirectord
for this configuration, so that a pid that was used again is no daemon.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from onevip.command.ldirectord import arguments
from onevip.daemon import Ownership

_INTERPRETER = re.compile(r"(perl|python)[\d.]*")
_STARTING = ("start", "restart", "try-restart")
POLL_S = 0.05
#: For the daemon to take note of a signal: its loop may be busy with a large table.
NOTICE_S = 2.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that runs. `is_ours`: it holds the lock of its file."""

    pid: int
    is_ours: bool

    def signal(self, number: signal.Signals) -> None:
        """Raises PermissionError; one that has just ended needs no signal."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    @property
    def is_ending(self) -> bool:
        """Whether it has taken note of a first TERM: from then on a second one would kill it.

        Only ours; also true for the first moment of its life.
        """
        if not self.is_ours:
            return False
        caught = _field(self.pid, "SigCgt")
        return caught is not None and not int(caught, 16) >> (signal.SIGTERM - 1) & 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon leaves its traces: the configuration's name and file, and our directories."""

    name: str
    file: str
    pid_file: Path
    run_directory: Path

    def running(self) -> Daemon | None:
        """The daemon of this file, if there is one."""
        holder = Ownership(self.run_directory, self.file).holder()
        if holder:
            return Daemon(holder, is_ours=True)
        text = self.noted()
        if text.isascii() and text.isdigit() and _is_ldirectord(int(text), self.name):
            return Daemon(int(text), is_ours=False)
        return None

    def noted(self) -> str:
        """What the first line of the pid file says; "" without one, or when it is empty."""
        try:
            return self.pid_file.read_text(errors="replace").partition("\n")[0]
        except OSError:
            return ""

    def wait_for_end(self) -> None:
        """Until none runs, for as long as it takes: checks of Debian's ldirectord end first."""
        while self.running():
            time.sleep(POLL_S)

    def wait_for_notice(self, daemon: Daemon) -> None:
        """Until it has taken note of TERM; then a `start` knows that this one does not count."""
        deadline = time.monotonic() + NOTICE_S
        while daemon.is_ours and self.running() == daemon and not daemon.is_ending:
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_S)

    def running_on(self) -> Daemon | None:
        """The daemon that runs and is not about to end: one that is ending is waited for."""
        while (found := self.running()) and found.is_ending:
            time.sleep(POLL_S)
        return found


def _is_ldirectord(pid: int, name: str) -> bool:
    """Whether this process was started as the daemon of a configuration of this name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return False
    if pid == os.getpid() or not words:
        return False
    program = words[0].rpartition("/")[2]
    if _INTERPRETER.fullmatch(program) is None and program not in ("ldirectord", "onevip"):
        return False  # an editor of ldirectord.cf, a pager of ldirectord.log
    for index, word in enumerate(words[:5]):  # perl -w /usr/sbin/ldirectord, python -m onevip …
        if word.rpartition("/")[2] == "ldirectord":
            return _is_daemon_of(name, words[index + 1 :])
    return False


def _is_daemon_of(name: str, words: list[str]) -> bool:
    try:
        given = arguments.read(words)
    except arguments.BadUsage:
        return False
    return given.name == name and given.command in _STARTING


def _field(pid: int, name: str) -> str | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)
