"""Errors and warnings as ldirectord prints them, byte for byte (spec ldirectord §3.7)."""

from __future__ import annotations

from collections.abc import Iterable

from onevip.config.place import ConfigWarning
from onevip.model import ConfigError


def as_ldirectord(said: ConfigError | ConfigWarning, pid: int) -> str:
    """`Error [12] reading file lb.cf at line 3: invalid port`, without the last line end.

    It may hold others: ldirectord prints an unknown line with its own.
    """
    kind, words, placed = "Error", said.message, said.line > 0
    if isinstance(said, ConfigWarning):
        kind, placed = "Warning", placed and said.placed
    elif said.verbatim:
        words = said.verbatim
    elif not placed:  # our own sentence of the file as a whole
        words = f"{said.file} {words}"
    place = f" reading file {said.file} at line {said.line}" if placed else ""
    return f"{kind} [{pid}]{place}: {words}".removesuffix("\n")


def transcript(said: Iterable[ConfigError | ConfigWarning], pid: int) -> list[str]:
    """All that ldirectord says of a file: its warnings, up to the first error."""
    texts: list[str] = []
    for one in said:
        if isinstance(one, ConfigError):
            return [*texts, as_ldirectord(one, pid)]
        if not one.ours:
            texts.append(as_ldirectord(one, pid))
    return texts
