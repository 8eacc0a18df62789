"""The configuration file as every command reads it first, with ldirectord's own messages."""

from __future__ import annotations

import os
from collections.abc import Callable

from onevip.config import load
from onevip.model import ConfigError, Configuration


def read(file: str, tell: Callable[[str], object]) -> Configuration:
    """The configuration; its warnings are told. Raises ConfigError."""
    configuration = load(file)
    for warning in configuration.warnings:
        tell(f"Warning [{os.getpid()}]: {warning}")
    return configuration


def in_its_words(error: ConfigError) -> str:
    """`Error [1234] reading file www.cf at line 3: Unknown command`."""
    place = f" reading file {error.file} at line {error.line}" if error.line else ""
    return f"Error [{os.getpid()}]{place}: {error.message}"
