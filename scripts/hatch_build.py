"""The wheel's build hook: the compiled BPF objects go in, clang is needed at build time only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileBpf(BuildHookInterface):  # type: ignore[misc]
    """Compiles before packing; an editable install leaves that to `make bpf`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        script = Path(self.root) / "scripts" / "build_bpf.py"
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            raise SystemExit("the BPF objects could not be compiled, the reason stands above")
