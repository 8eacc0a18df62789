"""Waiting for what another process writes."""

from __future__ import annotations

import time
from pathlib import Path

LIMIT_S = 20.0


def appears(file: Path, text: str, times: int = 1) -> str:
    """The file's content as soon as this stands in it so often; fails after `LIMIT_S`."""
    end = time.monotonic() + LIMIT_S
    while True:
        content = file.read_text(errors="replace") if file.exists() else ""
        if content.count(text) >= times:
            return content
        assert time.monotonic() < end, f"{text!r} does not appear in {file}:\n{content}"
        time.sleep(0.02)
