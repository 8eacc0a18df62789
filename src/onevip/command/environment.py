"""What a command may touch: its streams, the engine and the paths. Tests hand in their own."""

# ruff: noqa: PLC0415 - the engine is loaded by the commands that use it.

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from onevip.engines.base import Engine


def _bpf_engine() -> Engine:
    from onevip.engines.bpf import BpfEngine

    return BpfEngine()


@dataclass(frozen=True, slots=True)
class Environment:
    """A command is a function of its arguments and of this."""

    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    engine: Callable[[], Engine] = _bpf_engine
    state_directory: str = "/run/onevip"  # what `real` and `director` found before they began
    unit_directory: str = "/etc/systemd/system"
    pid_directory: str = "/var/run"  # ldirectord's
    log_file: str = "/var/log/ldirectord.log"  # likewise, unless its file names another
    configuration_directories: tuple[str, ...] = ("/etc/ha.d", "/etc/ha.d/conf")  # likewise
