"""monitorfile: a line for each probe of real servers that was made (spec ldirectord §6).

    [Sun Nov 22 16:26:17 2026] [1234] negotiate http tcp 10.0.0.1 80 1 masq / ok [up] status 200

Written by a thread. The file is opened for each batch of lines, so that a log rotation may move it
away at any time. One that cannot be written is told of once, and ends nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from onevip.daemon.background import Background
from onevip.daemon.events import Event, Probed, Row
from onevip.daemon.real_id import real_id
from onevip.model import Configuration, Outcome, words_of

log = logging.getLogger(__name__)

#: What would break a line, or a reader that splits it by `|`, stands in it as %hh.
_ESCAPED = re.compile(r"[%|\r\n]")
#: Of a server that somebody has taken out, whatever its probe found.
_RESTS = Outcome(healthy=False, reason="Server in maintenance")


class Line(NamedTuple):
    """A line for a file."""

    file: str
    text: str


class MonitorFiles:
    """The listener that writes them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._configuration: Configuration | None = None
        self._names: dict[Row, tuple[str, str]] = {}  # file and real id
        self._files = Files()
        self._background: Background[Line] | None = None
        self._keeps_up = True

    def heard(self, event: Event) -> None:
        if not isinstance(event, Probed) or not event.probed.outcome.tried:
            return  # of a server that could not be tried a line would say up or down
        if event.configuration is not self._configuration:
            self._configuration = event.configuration
            self._names = _names(event.configuration)
        for row in event.rows:
            if row in self._names:
                file, name = self._names[row]
                outcome = _RESTS if row in event.in_maintenance else event.probed.outcome
                self._write(Line(file, line(self._clock(), name, outcome)))

    async def close(self) -> None:
        if self._background:
            self._background.close()

    def _write(self, written: Line) -> None:
        if self._background is None:  # most configurations need no such thread
            self._background = Background(self._files.append)
        kept = self._background.put(written)
        if self._keeps_up and not kept:
            log.warning("monitorfile %s hangs: lines of monitor files are lost", written.file)
        self._keeps_up = kept


def line(now_s: float, name: str, outcome: Outcome) -> str:
    """One line, in ldirectord's form; `name` is the real id as it stands in such files."""
    state = "up" if outcome.healthy else "down"
    message = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02x}", outcome.reason) or "-"
    return f"[{time.ctime(now_s)}] [{os.getpid()}] {name} [{state}] {message}\n"


class Files:
    """Appends lines to files; remembers which of them are in trouble."""

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}  # lines, by file in trouble
        self._torn: set[str] = set()  # end in a part of a line

    def append(self, lines: list[Line]) -> None:
        texts: dict[str, list[str]] = defaultdict(list)
        for one in lines:
            texts[one.file].append(one.text)
        for file, parts in texts.items():
            self._append(file, parts)

    def _append(self, file: str, parts: list[str]) -> None:
        text = ("\n" if file in self._torn else "") + "".join(parts)
        data = text.encode("utf-8", "surrogateescape")
        try:
            written = _append(file, data)
        except OSError as error:
            self._lose(file, len(parts), words_of(error))
            return
        if written < len(data):
            if written:
                self._torn.add(file)
            self._lose(file, len(parts), os.strerror(errno.ENOSPC).lower())
            return
        self._torn.discard(file)
        if lost := self._lost.pop(file, 0):
            log.info("monitorfile %s is written again, %d lines were lost", file, lost)

    def _lose(self, file: str, lines: int, why: str) -> None:
        if file not in self._lost:
            log.warning("monitorfile %s cannot be written, its lines are lost: %s", file, why)
        self._lost[file] = self._lost.get(file, 0) + lines


def _append(file: str, data: bytes) -> int:
    """How much of it could be written. Raises OSError."""
    # O_NONBLOCK: a pipe that nobody reads is an error, not a wait.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    descriptor = os.open(file, flags, 0o644)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, True)
        return os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _names(configuration: Configuration) -> dict[Row, tuple[str, str]]:
    return {
        (service.key, server.real.key): (service.monitor_file, _in_lines(real_id(service, server)))
        for service in configuration.services
        if service.monitor_file
        for server in service.real_servers
    }


def _in_lines(name: str) -> str:
    """As it stands in lines: runs of colons are blanks, backslashes are left out."""
    plain = re.sub(":+", " ", name).replace("\\", "")
    return "".join(
        char if char.isprintable() or "\udc80" <= char <= "\udcff" else " " for char in plain
    )
