"""The configuration file as every command reads it first, with ldirectord's own messages."""

from __future__ import annotations

import os
from collections.abc import Callable

from onevip.config import as_ldirectord, read_file
from onevip.config.wording import transcript
from onevip.model import ConfigError, Configuration


def read(file: str, tell: Callable[[str], object]) -> Configuration:
    """The configuration. What ldirectord says of the file is told; raises ConfigError."""
    try:
        found = read_file(file)
    except ConfigError as error:  # of the file as a whole
        tell(as_ldirectord(error, os.getpid()))
        raise
    for words in transcript(found.said, os.getpid()):
        tell(words)
    return found.result()


def in_one_line(error: ConfigError) -> str:
    """`Error [1234] reading file www.cf at line 3: invalid check timeout`, for the log."""
    return " ".join(as_ldirectord(error, os.getpid()).splitlines())
