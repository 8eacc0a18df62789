"""One network namespace as a machine: runs programs in it, ends them by pid, removes it whole."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from onevip.model import OnevipError
from onevip.namespace import RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAMESPACES = Path("/run/netns")
ENVIRONMENT = {
    **os.environ,
    "LC_ALL": "C",
    "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
}
PACKAGES = {
    "ip": "iproute2",
    "apache2": "apache2-bin",
    "tcpdump": "tcpdump",
    "curl": "curl",
    "ethtool": "ethtool",
}
GRACE_S = 3.0


class LabError(OnevipError):
    """The cluster could not be built, or a program in it failed."""


def require_programs(*programs: str) -> None:
    """Raises LabError with the apt line when one of them is not installed."""
    missing = [name for name in programs if shutil.which(name, path=ENVIRONMENT["PATH"]) is None]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise LabError(f"not found: {', '.join(missing)}: apt install {packages}")


def run(argv: Iterable[str], *, given: str | None = None, timeout_s: float = 30.0) -> str:
    """Run a program to its end and return what it printed; raises LabError when it fails."""
    command = list(argv)
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            check=False,
            text=True,
            env=ENVIRONMENT,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: no end after {timeout_s:g} s") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise LabError(f"{' '.join(command)}: {said}")
    return done.stdout


def end(pids: Iterable[int]) -> None:
    """TERM, and KILL for those that are still there after `GRACE_S`."""
    remaining = set(pids)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in remaining:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + GRACE_S
        while remaining and time.monotonic() < deadline:
            remaining = {pid for pid in remaining if is_running(pid)}
            time.sleep(0.01)


def is_running(pid: int) -> bool:
    """False for a process that is gone or a zombie; reaps it if it was our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace by name. Equal names are the same namespace."""

    name: str

    def exists(self) -> bool:
        return (NAMESPACES / self.name).exists()

    def create(self) -> None:
        try:
            run(["ip", "netns", "add", self.name])
        except LabError as error:
            if re.search("not permitted|denied", str(error)):
                raise LabError(
                    f"no network namespaces without privileges, be root: {error}"
                ) from error
            raise

    def remove(self) -> None:
        """End every process in it and delete it, its interfaces, and files about it. Idempotent."""
        if not self.exists():
            return
        end(self.pids())
        inode = (NAMESPACES / self.name).stat().st_ino
        run(["ip", "netns", "delete", self.name])
        for kept in (RUN / str(inode), *RUN.glob(f"{inode}-*")):
            shutil.rmtree(kept, ignore_errors=True)

    def pids(self) -> list[int]:
        return [int(pid) for pid in run(["ip", "netns", "pids", self.name]).split()]

    def inside(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in here."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, given: str | None = None, timeout_s: float = 30.0) -> str:
        """Run a program in here to its end; its output. Raises LabError when it fails."""
        return run(self.inside(*argv), given=given, timeout_s=timeout_s)

    def start(
        self, *argv: str, output: int | IO[bytes], errors: int | IO[bytes] = subprocess.STDOUT
    ) -> subprocess.Popen[bytes]:
        """Start a program in here. `ip netns exec` becomes it, so the pid is the program's own.

        It gets a session of its own: Ctrl-C at the terminal reaches only us, and we end it.
        """
        return subprocess.Popen(
            self.inside(*argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    def ip(self, *commands: str) -> None:
        """Several `ip` commands in one process."""
        run(["ip", "-n", self.name, "-batch", "-"], given="\n".join(commands) + "\n")

    def sysctl(self, values: Mapping[str, int]) -> None:
        """Set values below /proc/sys/net; those that this kernel does not have are left out."""
        lines = (
            f"[ ! -e /proc/sys/net/{key} ] || echo {value} > /proc/sys/net/{key}"
            for key, value in values.items()
        )
        self.run("sh", "-ec", "\n".join(lines))
