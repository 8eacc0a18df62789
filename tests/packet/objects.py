"""scripts/build_bpf.py, for tests that compile programs of their own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _script(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def compile_object(source: Path, target: Path) -> None:
    """As `make bpf` does; headers beside the source go before those of bpf/."""
    _script("build_bpf").compile_object(source, target)
