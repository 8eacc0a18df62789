"""The log by syslog(3): to a facility, by the socket of this machine's syslog daemon."""

from __future__ import annotations

import logging
import os
import socket
import time
from logging.handlers import SysLogHandler

from onevip.daemon.log import Sentence

DEV_LOG = "/dev/log"
IDENT = "ldirectord"
_FACILITIES = SysLogHandler.facility_names
_SENTENCE = Sentence()


class Syslog:
    """`<30>Nov 22 16:26:17 ldirectord[1234]: sentence`, one datagram a sentence.

    All of it with priority info, as ldirectord. An unknown facility is `daemon`: the log must go
    somewhere.
    """

    def __init__(self, facility: str, path: str) -> None:
        number = _FACILITIES.get(facility.lower().removeprefix("log_"), SysLogHandler.LOG_DAEMON)
        self._priority = number << 3 | SysLogHandler.LOG_INFO
        self._path = path

    def lines(self, record: logging.LogRecord) -> str:
        date = time.strftime("%b %e %H:%M:%S", time.localtime(record.created))
        return f"<{self._priority}>{date} {IDENT}[{os.getpid()}]: {_SENTENCE.format(record)}\n"

    def write(self, lines: str) -> None:
        # Connected for each: the syslog daemon may have been started again, with another socket.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(self._path)
            one.send(lines.rstrip("\n").encode("utf-8", "backslashreplace"))
