"""The daemon's log lines on stderr: `2026-11-22 18:00:01 onevip[1234]: sentence`.

Written by a thread: a log that nobody reads (a stopped pager, Ctrl-S, a full pipe) holds up no
check.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from onevip.daemon.background import Background

_PREFIX = {
    logging.WARNING: "warning: ",
    logging.ERROR: "error: ",
    logging.CRITICAL: "error: ",
}


class Lines(logging.Formatter):
    """One plain format; what is no mere news says so."""

    def __init__(self) -> None:
        super().__init__(f"%(asctime)s onevip[{os.getpid()}]: %(prefix)s%(message)s")
        self.default_msec_format = ""

    def format(self, record: logging.LogRecord) -> str:
        record.prefix = _PREFIX.get(record.levelno, "")
        return super().format(record)


class Writer(logging.Handler):
    """Hands lines to a thread of its own, which writes them one by one."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self.setFormatter(Lines())
        self._write = write
        self._failed = self._told = 0  # lines that could not be written, that were said to be lost
        self._background = Background(self._write_all)

    def emit(self, record: logging.LogRecord) -> None:
        self._background.put(self.format(record) + "\n")

    def close(self) -> None:
        """Let the last lines be written, if that can be."""
        super().close()
        self._background.close()

    def _write_all(self, lines: list[str]) -> None:
        for line in lines:
            if not self._try(line):
                self._failed += 1
                continue
            lost = self._failed + self._background.dropped - self._told
            if lost and self._try(self._loss(lost)):
                self._told += lost

    def _try(self, line: str) -> bool:
        try:
            self._write(line)
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed stream
            return False
        return True

    def _loss(self, lines: int) -> str:
        words = f"{lines} log lines were lost: they could not be written"
        return self.format(logging.makeLogRecord({"msg": words, "levelno": logging.WARNING})) + "\n"


@contextmanager
def to(stream: TextIO | None) -> Iterator[None]:
    """Send all of onevip's log there while the block runs; None: a stderr that is closed."""
    writer = Writer(_writing_to(stream))
    logger = logging.getLogger("onevip")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [writer], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        writer.close()
        logger.handlers[:], _, logger.propagate = before
        logger.setLevel(before[1])


def _writing_to(stream: TextIO | None) -> Callable[[str], object]:
    if stream is None:
        return len
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:
        return stream.write
    # Not by the stream: a write that hangs would hold its lock, on which the interpreter's own
    # flush at the end of the process aborts.
    return lambda line: os.write(number, line.encode("utf-8", "backslashreplace"))
