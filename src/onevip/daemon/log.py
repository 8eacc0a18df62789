"""The daemon's log lines on stderr: `2026-11-22 18:00:01 onevip[1234]: sentence`."""

from __future__ import annotations

import logging
import os
from typing import TextIO

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


def to(stream: TextIO) -> None:
    """Send all of onevip's log there."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines())
    logger = logging.getLogger("onevip")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
