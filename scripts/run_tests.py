"""Runs every test but the VM's: those with real traffic beside all others, which take as long.

The first half's output is shown as it comes, the other's when it has ended. Then the host is looked
at: it must be as it was before. Prints the ten slowest tests and the total.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = (sys.executable, "-m", "pytest", "--durations=10")
TRAFFIC = "tests/netns"
HOST = "tests/test_host.py"
OTHERS = ("tests", f"--ignore={TRAFFIC}", f"--ignore={HOST}", "--ignore=tests/vm")
_DURATION = re.compile(r"^\s*([0-9.]+)s (call|setup|teardown) +(.*)$", re.MULTILINE)
SHOWN = 10


def main() -> int:
    """The exit status: 0 when both halves passed and nothing of them is left."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="onevip-tests-") as directory:
        state = Path(directory) / "host.json"
        environment = {**os.environ, "ONEVIP_HOST_BEFORE": str(state)}
        _run([HOST, "--collect-only", "-q"], environment)  # writes down how the host is
        with (Path(directory) / "others.log").open("w+") as log:
            others = subprocess.Popen([*PYTEST, *OTHERS], cwd=ROOT, stdout=log, stderr=log)
            try:
                status, said = _show([*PYTEST, TRAFFIC])
            finally:
                others_status = others.wait()
            log.seek(0)
            other_said = log.read()
        print(other_said, flush=True)
        host = subprocess.run(
            [*PYTEST, "-q", HOST], cwd=ROOT, env=environment, check=False
        ).returncode
    found = [(float(seconds), name) for seconds, _, name in _DURATION.findall(said + other_said)]
    print("slowest of all:")
    for seconds, name in sorted(found, reverse=True)[:SHOWN]:
        print(f"{seconds:8.2f}s {name}")
    print(f"total: {time.monotonic() - began:.0f} s")
    return max(status, others_status, host)


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    subprocess.run(
        [*PYTEST, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
    )


def _show(argv: list[str]) -> tuple[int, str]:
    """The exit status, and what it said while it was shown."""
    said: list[str] = []
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            text = piece.decode("utf-8", "replace")
            said.append(text)
            print(text, end="", flush=True)
    return process.returncode, "".join(said)


if __name__ == "__main__":
    sys.exit(main())
