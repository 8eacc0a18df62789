"""The one loop in which rooms meet: configuration + verdicts → wanted table → diff → apply."""

# ruff: noqa: PLC0415 - `ldirectord status` needs no event loop and no probes.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onevip.daemon.ownership import Ownership

if TYPE_CHECKING:
    from onevip.daemon.loop import run

__all__ = ["Ownership", "run"]


def __getattr__(name: str) -> Any:
    """The loop is loaded when it is run."""
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from onevip.daemon.loop import run

    return run
