"""Where ldirectord's log goes, line by line as it writes them (spec ldirectord §6).

A file is opened and closed for each line, so that logrotate needs no signal.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TextIO

from onevip.daemon.log import Destination, Sentence, writing_to
from onevip.daemon.syslog import DEV_LOG, Syslog
from onevip.model import Configuration

_SENTENCE = Sentence()


class LogFile:
    """`[Sun Nov 22 16:26:17 2026|www.cf|1234] sentence`, at the end of a file."""

    def __init__(self, path: str, name: str) -> None:
        self._path = Path(path)
        self._name = name

    def lines(self, record: logging.LogRecord) -> str:
        return f"[{_date(record)}|{self._name}|{os.getpid()}] {_SENTENCE.format(record)}\n"

    def write(self, lines: str) -> None:
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(lines)


class Supervised:
    """`[Sun Nov 22 16:26:17 2026] sentence` on stdout, for who runs us in the foreground."""

    def __init__(self, stdout: TextIO) -> None:
        self.write = writing_to(stdout)

    def lines(self, record: logging.LogRecord) -> str:
        return f"[{_date(record)}] {_SENTENCE.format(record)}\n"


class Debugging:
    """ldirectord -d: on stderr each sentence twice, the first time as a debugging line.

    Records of level DEBUG are lines of debugging alone, in their own words.
    """

    def __init__(self, stderr: TextIO) -> None:
        self.write = writing_to(stderr)

    def lines(self, record: logging.LogRecord) -> str:
        sentence = _SENTENCE.format(record)
        if record.levelno <= logging.DEBUG:
            return f"{sentence}\n"
        return f"DEBUG2: {sentence}\n{sentence}\n"


def of_configuration(configuration: Configuration, name: str, stdout: TextIO) -> Destination:
    """The destination that a configuration asks for; `name` of it stands in each line."""
    if configuration.supervised:
        return Supervised(stdout)
    if configuration.log_file.startswith("/"):
        return LogFile(configuration.log_file, name)
    return Syslog(configuration.log_file, DEV_LOG)


def _date(record: logging.LogRecord) -> str:
    return time.asctime(time.localtime(record.created))
