"""The daemon's log lines on stderr: `2026-11-22 18:00:01 onevip[1234]: sentence`.

Written by a thread: a log that nobody reads (a stopped pager, Ctrl-S, a full pipe) holds up no
check.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_PREFIX = {
    logging.WARNING: "warning: ",
    logging.ERROR: "error: ",
    logging.CRITICAL: "error: ",
}
#: Lines that wait to be written; what comes on top of them is lost, and counted.
MAX_WAITING = 10_000
#: So long the end of the daemon waits for its last lines to be written.
PATIENCE_S = 1.0


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
        self._waiting: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(self.format(record) + "\n")
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Let the last lines be written, if that can be."""
        super().close()
        try:
            self._waiting.put(None, timeout=PATIENCE_S)
        except queue.Full:
            return
        self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        failed = told = 0
        while (line := self._waiting.get()) is not None:
            if not self._try(line):
                failed += 1
            elif (lost := failed + self._dropped - told) and self._try(self._loss(lost)):
                told += lost

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
