"""A director's machine for tests: a network namespace with /etc, /run, /var/log and /usr/sbin of
its own, in which Debian's ldirectord or ours is installed as `/usr/sbin/ldirectord`.

What is written there is gone with it; the host sees nothing of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NoReturn, Self

import pytest

import parts
from netns.resident_ipvsadm import CLIENT
from onevip.lab.namespace import ENVIRONMENT, NAMESPACES, Namespace

RESIDENT = Path(__file__).with_name("resident_ipvsadm.py")
SOCKET = "/run/ipvsadm.socket"
SOURCES = Path(__file__).parents[2] / "src"
#: Writable layers over what the host has; /run and /var/log begin empty.
_PREPARE = """
set -e
mount -t tmpfs none "$1"
for of in usr/sbin etc; do
    mkdir -p "$1/$of/upper" "$1/$of/work"
    mount -t overlay none -o "lowerdir=/$of,upperdir=$1/$of/upper,workdir=$1/$of/work" "/$of"
done
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /etc/ha.d/conf /run/lock /run/onevip/bpf
mount -t bpf -o mode=700 none /run/onevip/bpf
ip link set lo up
echo ready
exec sleep infinity
"""
_ONEVIP = """\
#!{python}
import sys
sys.path.insert(0, {sources!r})
from onevip.command.main import main
sys.exit(main())
"""


def sweep() -> None:
    """Removes the houses of test runs that were killed."""
    for path in list(NAMESPACES.glob("onevip-t*-house-*")) if NAMESPACES.is_dir() else ():
        found = re.match(r"onevip-t(\d+)-", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            Namespace(path.name).remove()


class House:
    """`with House(name, layers, real=False) as house: house.run("ldirectord", "start")`."""

    def __init__(self, name: str, layers: Path, *, real: bool) -> None:
        self.namespace = Namespace(name)
        self._layers = layers
        self._real = real
        self._keeper: subprocess.Popen[bytes] | None = None
        self._resident: subprocess.Popen[str] | None = None
        self.environment = ENVIRONMENT | (parts.environment() if real else {})
        self.environment |= {"PYTHONDONTWRITEBYTECODE": "1"}

    def __enter__(self) -> Self:
        self._layers.mkdir()
        self.namespace.create()
        self._keeper = self.namespace.start(
            "sh", "-c", _PREPARE, "sh", str(self._layers), output=subprocess.PIPE
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"ready\n":
            self.__exit__()
            _cannot_be_built()
        onevip = _ONEVIP.format(python=sys.executable, sources=str(SOURCES))
        self.write("/usr/sbin/onevip", onevip, mode=0o755)
        for name in ("ipvsadm", "ldirectord"):
            self.path(f"/usr/sbin/{name}").unlink(missing_ok=True)
            self.path(f"/usr/sbin/{name}").symlink_to("onevip")
        if self._real:
            self._move_in_debians()
        return self

    def _move_in_debians(self) -> None:
        ldirectord, ipvsadm = (self.path(f"/usr/sbin/{n}") for n in ("ldirectord", "ipvsadm"))
        ldirectord.unlink()
        ldirectord.symlink_to(parts.program("ldirectord"))
        ipvsadm.unlink()
        self.write("/usr/sbin/ipvsadm", CLIENT.format(socket=SOCKET), mode=0o755)
        resident = self.start(
            *("env", f"PYTHONPATH={SOURCES}", sys.executable, str(RESIDENT), SOCKET),
            stdout=subprocess.PIPE,
        )
        assert resident.stdout is not None
        assert resident.stdout.readline() == "ready\n"
        resident.stdout.close()
        self._resident = resident

    def __exit__(self, *_: object) -> None:
        self.namespace.remove()  # ends what runs in it
        if self._resident:
            self._resident.wait()
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()
        self._keeper.wait()

    def path(self, path: str) -> Path:
        """A path in the house, as seen from outside."""
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        file = self.path(path)
        file.write_text(textwrap.dedent(text))
        file.chmod(mode)

    def inside(self, *argv: str) -> list[str]:
        assert self._keeper is not None
        return ["nsenter", f"--target={self._keeper.pid}", "--mount", "--net", "--", *argv]

    def run(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program in the house to its end; it may fail."""
        return subprocess.run(
            self.inside(*argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=timeout_s,
        )

    def start(self, *argv: str, **streams: int) -> subprocess.Popen[str]:
        """Start a program in the house; it ends with it at the latest."""
        return subprocess.Popen(
            self.inside(*argv),
            stdin=subprocess.DEVNULL,
            text=True,
            env=self.environment,
            start_new_session=True,
            **streams,
        )


def _cannot_be_built() -> NoReturn:
    reason = "no overlay of /etc and /usr/sbin can be mounted here"
    if os.environ.get("ONEVIP_REQUIRE"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
