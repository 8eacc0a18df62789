"""The daemon's log: hands lines to a thread, which writes them to a destination.

A log that nobody reads (a stopped pager, Ctrl-S, a full pipe) holds up no check. The forms of
lines and the places they go to are in `log_destinations` and `syslog`.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

_PREFIX = {
    logging.WARNING: "warning: ",
    logging.ERROR: "error: ",
    logging.CRITICAL: "error: ",
}
#: Lines that wait to be written; what comes on top of them is lost, and counted.
MAX_WAITING = 10_000
#: So long the end of the daemon waits for its last lines to be written.
PATIENCE_S = 1.0


class Destination(Protocol):
    """Where a log goes, and in which form."""

    def lines(self, record: logging.LogRecord) -> str:
        """What is written of a record, with the line end."""
        ...

    def write(self, lines: str) -> object:
        """Raises OSError or ValueError when it cannot be written."""
        ...


class Sentence(logging.Formatter):
    """The message alone; what is no mere news says so."""

    def __init__(self, form: str = "%(prefix)s%(message)s") -> None:
        super().__init__(form)
        self.default_msec_format = ""

    def format(self, record: logging.LogRecord) -> str:
        record.prefix = _PREFIX.get(record.levelno, "")
        return super().format(record)


class Stream:
    """`2026-11-22 18:00:01 onevip[1234]: sentence`, the form of `onevip run`."""

    def __init__(self, stream: TextIO | None) -> None:
        self._form = Sentence(f"%(asctime)s onevip[{os.getpid()}]: %(prefix)s%(message)s")
        self.write = writing_to(stream)

    def lines(self, record: logging.LogRecord) -> str:
        return self._form.format(record) + "\n"


class Writer(logging.Handler):
    """Hands lines to a thread of its own, which writes them one by one."""

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self._destination = destination
        self._waiting: queue.Queue[tuple[Destination, str] | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def use(self, destination: Destination) -> None:
        """From the next line on."""
        self._destination = destination

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait((self._destination, self._destination.lines(record)))
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
        while (waiting := self._waiting.get()) is not None:
            destination, lines = waiting
            if not _written(destination, lines):
                failed += 1
            elif lost := failed + self._dropped - told:
                words = f"{lost} log lines were lost: they could not be written"
                record = logging.makeLogRecord({"msg": words, "levelno": logging.WARNING})
                if _written(destination, destination.lines(record)):
                    told += lost


def _written(destination: Destination, lines: str) -> bool:
    try:
        destination.write(lines)
    except (OSError, ValueError):  # a broken pipe, a full disk, a closed stream
        return False
    return True


def to(stream: TextIO | None) -> AbstractContextManager[Writer]:
    """Send all of onevip's log there while the block runs; None: a stderr that is closed."""
    return through(Stream(stream))


@contextmanager
def through(destination: Destination, level: int = logging.INFO) -> Iterator[Writer]:
    """Send all of onevip's log, from this level on, to a destination while the block runs."""
    writer = Writer(destination)
    logger = logging.getLogger("onevip")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [writer], False
    logger.setLevel(level)
    try:
        yield writer
    finally:
        writer.close()
        logger.handlers[:], _, logger.propagate = before
        logger.setLevel(before[1])


def writing_to(stream: TextIO | None) -> Callable[[str], object]:
    """What writes text to a stream; None: to nowhere."""
    if stream is None:
        return len
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:
        return stream.write
    # Not by the stream: a write that hangs would hold its lock, on which the interpreter's own
    # flush at the end of the process aborts.
    return lambda text: os.write(number, text.encode("utf-8", "backslashreplace"))
