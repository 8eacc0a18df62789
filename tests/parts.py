"""Programs of Debian that tests talk to: those that `make setup` unpacked, else installed ones.

They are not installed, so their libraries and modules are found by the environment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / ".parts"
_PROGRAMS = ("usr/sbin", "usr/bin", "sbin", "bin")
_LIBRARIES = ("usr/lib", "lib")


def program(name: str) -> str:
    """The path of a program; skips the test, or fails it under ONEVIP_REQUIRE, without it."""
    for directory in _PROGRAMS:
        if (found := ROOT / directory / name).exists():
            return str(found)
    if installed := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return installed
    reason = f"no {name} here: run make setup on a Debian"
    if os.environ.get("ONEVIP_REQUIRE"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def environment() -> dict[str, str]:
    """The environment in which an unpacked program finds its libraries and Perl its modules."""
    libraries = [str(path) for name in _LIBRARIES for path in ROOT.glob(f"{name}/*-linux-gnu*")]
    modules = [str(ROOT / "usr/share/perl5"), *map(str, ROOT.glob("usr/lib/*/perl5/*"))]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PERL5LIB": ":".join(modules),
    }
