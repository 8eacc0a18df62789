"""What the daemon remembers of its rows from one run to the next: by_hand.Note by row, on disk.

A file of one JSON object a line; a later line of a row replaces an earlier one, so that a change
costs one short write however many rows there are. Decides nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from onevip.daemon.by_hand import BLANK, TERMS, Note
from onevip.daemon.events import Row
from onevip.health import Verdict
from onevip.model import ForwardingMethod, Protocol, RealServer, RealServerKey, ServiceKey

log = logging.getLogger(__name__)

VERSION = 1
#: The file is written anew when it holds so many lines for each row.
LINES_PER_ROW = 8
LINES_AT_LEAST = 1000


class Notes:
    """The notes of the daemon of one file. What cannot be written is only forgotten sooner."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: dict[Row, Note] = {}
        self._lines = 0
        self._failed = False

    def load(self) -> None:
        """What the daemon before this one remembered; damaged lines are left out, with a word."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", self._path, error.strerror)
            return
        damaged = sum(not self._take(line) for line in lines)
        self._lines = len(lines)
        if damaged:
            self._failed = True
            log.warning(
                "%s: %d damaged lines: weights set by hand may have been forgotten",
                *(self._path, damaged),
            )

    def get(self, row: Row) -> Note:
        return self._notes.get(row, BLANK)

    def rows(self) -> list[Row]:
        """The rows that something is remembered of."""
        return list(self._notes)

    def put(self, notes: Mapping[Row, Note]) -> None:
        """Remember these, in the memory and in the file."""
        new = {row: note for row, note in notes.items() if self._notes.get(row) != note}
        if not new:
            return
        self._notes |= new
        # After a failure the file lacks notes, and may end in a part of a line.
        if self._failed or self._lines + len(new) > max(
            LINES_AT_LEAST, LINES_PER_ROW * len(self._notes)
        ):
            self._write_anew()
        else:
            self._write(lambda: self._append(new))

    def keep(self, rows: Iterable[Row]) -> None:
        """Forget all rows but these."""
        kept = set(rows)
        if self._notes.keys() - kept:
            self._notes = {row: note for row, note in self._notes.items() if row in kept}
            self._write_anew()

    def close(self) -> None:
        """The end of the daemon: a file that says nothing goes."""
        if not self._notes:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        elif self._lines > len(self._notes):
            self._write_anew()

    def _append(self, new: Mapping[Row, Note]) -> None:
        with self._path.open("a") as file:
            file.write("".join(_line(row, note) for row, note in new.items()))
        self._lines += len(new)

    def _write_anew(self) -> None:
        def write() -> None:
            draft = self._path.with_suffix(".draft")
            draft.write_text("".join(_line(row, note) for row, note in self._notes.items()))
            draft.replace(self._path)
            self._lines = len(self._notes)

        self._write(write)

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
            self._failed = False
        except OSError as error:
            if not self._failed:  # the table matters more
                log.warning("%s cannot be written: %s", self._path, error.strerror)
            self._failed = True

    def _take(self, line: str) -> bool:
        try:
            row, note = _parsed(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        self._notes[row] = note
        return True


def _line(row: Row, note: Note) -> str:
    service, real = row
    said = {
        "version": VERSION,
        "service": key_words(service),
        "real": [str(real.address), real.port],
        "left": [_terms(left) for left in note.left],
        "ours": _terms(note.ours),
        "verdict": note.verdict.value,
        "by_hand": dict(note.terms),
    }
    return json.dumps(said, separators=(",", ":")) + "\n"


def _parsed(said: dict[str, Any]) -> tuple[Row, Note]:
    if said["version"] != VERSION:
        raise ValueError(said["version"])
    address, port = said["real"]
    real = RealServerKey(ip_address(address), int(port))
    terms = {name: int(said["by_hand"][name]) for name in TERMS if name in said["by_hand"]}
    left = tuple(_row(real, words) for words in said["left"])
    note = Note(left, Verdict(said["verdict"]), terms, _row(real, said["ours"]))
    return (key_of(said["service"]), real), note


def _terms(row: RealServer | None) -> list[int] | None:
    return None if row is None else [int(getattr(row, name)) for name in TERMS]


def _row(real: RealServerKey, words: list[Any] | None) -> RealServer | None:
    if words is None:
        return None
    weight, method, upper, lower = map(int, words)
    return RealServer(real.address, real.port, ForwardingMethod(method), weight, upper, lower)


def key_words(key: ServiceKey) -> list[str | int]:
    """A service's key as JSON: `["tcp", "192.0.2.1", 80]`, and its mark if it has one."""
    mark = (key.mark,) if key.mark else ()
    return [key.protocol.name.lower(), str(key.address), key.port, *mark]


def key_of(words: list[Any]) -> ServiceKey:
    """Raises KeyError, TypeError, ValueError for anything else than `key_words` made."""
    protocol, address, port, *mark = words
    return ServiceKey(Protocol[protocol.upper()], ip_address(address), int(port), *map(int, mark))
