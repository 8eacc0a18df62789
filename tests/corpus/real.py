"""The real ldirectord, asked what it makes of files (real.pl), in a mount namespace of its own:
its /run and /var/log are empty, and it knows no hosts but those of a file."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import parts

_HERE = Path(__file__).parent
HOST_NAME = "testhost"
_NOISE = re.compile(r"^(Use of uninitialized|Odd number|Argument \").*\n", re.MULTILINE)


class Answer(NamedTuple):
    """`exit`: 2 for a broken file, else 3, as of `ldirectord FILE status` when none runs."""

    exit: int
    messages: str  # without Perl's own warnings, and with PID for its process id
    parsed: dict[str, Any] | None


def ask(files: Sequence[Path], hosts: Path) -> dict[Path, Answer]:
    """What the real program says of these files; `hosts` is its /etc/hosts."""
    output = run("".join(f"{file}\n" for file in files), hosts)
    return {
        Path(one["file"]): Answer(one["exit"], cleaned(one["messages"], one["pid"]), one["parsed"])
        for one in json.loads(output)
    }


def cleaned(messages: str, pid: int) -> str:
    """Without what differs from run to run."""
    return _NOISE.sub("", messages).replace(f"[{pid}]", "[PID]")


def run(jobs: str, hosts: Path, ipvsadm: str = "/bin/false") -> str:
    """The output of real.pl for these lines."""
    program = parts.program("ldirectord")
    script = f"""
        set -e
        mount --bind {shlex.quote(str(hosts.resolve()))} /etc/hosts
        mount --bind /dev/null /etc/resolv.conf
        mount -t tmpfs none /run
        mount -t tmpfs none /var/log
        exec perl {shlex.quote(str(_HERE / "real.pl"))} {shlex.quote(program)}
    """
    new = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    with tempfile.TemporaryDirectory(prefix="onevip-corpus-") as answers:
        environment = {"HOSTNAME": HOST_NAME, "IPVSADM": ipvsadm, "ANSWERS": answers, "LC_ALL": "C"}
        return subprocess.run(
            [*new, "sh", "-c", script],
            input=jobs,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=True,
            env={**parts.environment(), **environment},
        ).stdout
