"""The oldest kernel that is supported, 6.1: no tcx there, so the tc door is a clsact filter.

Boots it in qemu with this machine's file system and runs real traffic by the tc door. Apart from
the other tests, for it takes minutes: `make vm`. Wants a program that runs a command under another
kernel, `kernelvm --kernel 6.1 -- COMMAND…`, named by ONEVIP_KERNELVM or found beside this tree.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (os.environ.get("ONEVIP_KERNELVM"), ROOT.parent / "shared" / "tools" / "kernelvm")
LIMIT_S = 1100


def kernelvm() -> Path:
    for place in PLACES:
        if place and Path(place).exists():
            return Path(place)
    reason = (
        "no kernelvm: set ONEVIP_KERNELVM to a program that runs a command under another kernel"
    )
    if "vm" in os.environ.get("ONEVIP_REQUIRE", ""):
        pytest.fail(reason)
    pytest.skip(reason)


def test_real_traffic_by_the_tc_door_on_6_1() -> None:
    inside = (
        f"cd {ROOT} && uname -r && export ONEVIP_PATIENCE=6 PYTHONDONTWRITEBYTECODE=1 &&"
        f" {sys.executable} -m pytest -q"
        " -p no:cacheprovider tests/netns/test_forwarding.py -k 'gate-tc or masq-tc or ipip-tc'"
    )
    done = subprocess.run(
        [kernelvm(), "--kernel", "6.1", "--timeout", str(LIMIT_S), "--", "sh", "-c", inside],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S + 60,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.startswith("6.1.")
    assert re.search(r"^27 passed", done.stdout, re.MULTILINE), done.stdout[-400:]
