"""The line grammar of ldirectord.cf (spec ldirectord §3): which line belongs to which section.

Knows indentation, comments and section ends; knows no directive but `virtual`. Blanks, digits and
letters are ASCII's, as for ldirectord, which reads bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from onevip.model.secret import HIDDEN

_SECTION_START = re.compile(r"virtual6?\s*=", re.ASCII)
_COMMENT = re.compile(r"\s*#", re.ASCII)
_BLANK = re.compile(r"\s*$", re.ASCII)
_INDENTED = re.compile(r" {4,}(.+)")
_DIRECTIVE = re.compile(r"([A-Za-z0-9_-]+)\s*=\s*(.*)", re.ASCII)
_BEFORE_VALUE = re.compile(r"\s*(?:[A-Za-z0-9_-]+\s*=\s*)?", re.ASCII)
_NAMED = re.compile(r"(\W*([\w-]+)\s*[=:]?\s*)\S", re.ASCII)
_SECRET = re.compile(r"pass|pwd|secr", re.IGNORECASE)
_SECRET_INSIDE = re.compile(r"((?:passw\w*|secret)\s*[=:]\s*)\S.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that holds something: where it stands, as written, and what it means."""

    number: int
    raw: str
    text: str  # without indentation and, inside a section, without its comment
    end: str = "\n"  # "" when the file ends without one

    def directive(self) -> tuple[str, str] | None:
        """(name, value) of `name = value`, or None."""
        match = _DIRECTIVE.match(self.text)
        return (match[1], match[2]) if match else None

    def find(self, text: str) -> int:
        """The column, from 1, of this part of the value; of the whole value when it is "" or cut
        by a tab or a comment."""
        match = _BEFORE_VALUE.match(self.raw)
        value = match.end() if match else 0
        return max(value, self.raw.find(text, value)) + 1

    @property
    def shown(self) -> str:
        """As written, but a password is hidden, also one whose directive is misspelt."""
        return hidden(self.raw)


@dataclass(frozen=True, slots=True)
class Section:
    """A `virtual=` line and the indented lines under it."""

    head: Line
    body: tuple[Line, ...]
    last_line_read: int  # the line that ended the section, or the last one of the file
    is_last_line: bool = False  # its head is the end of the file


def hidden(raw: str) -> str:
    """A line of the file, fit to be shown: what may be a password is `***`."""
    match = _NAMED.match(raw)
    if match and (
        _SECRET.search(match[2])
        or get_close_matches(match[2].lower(), ("passwd", "password", "secret"), cutoff=0.7)
    ):
        return match[1] + HIDDEN
    return without_secrets(raw)


def without_secrets(text: str) -> str:
    """Whatever follows `passwd=` or `secret=` anywhere in it is hidden."""
    return _SECRET_INSIDE.sub(rf"\1{HIDDEN}", text)


def split(text: str) -> Iterator[Line | Section]:
    """Global lines and sections, in the order of the file."""
    raw_lines = text.split("\n")
    last = raw_lines.pop()
    ends = ["\n"] * len(raw_lines)
    if last:
        raw_lines.append(last)
        ends.append("")
    index = 0
    while index < len(raw_lines):
        raw = raw_lines[index]
        line = Line(index + 1, raw, raw, ends[index])
        index += 1
        if _COMMENT.match(raw) or _BLANK.match(raw):
            continue
        if not _SECTION_START.match(raw):
            yield line
            continue
        is_last_line = index == len(raw_lines)
        body: list[Line] = []
        while index < len(raw_lines):
            raw = raw_lines[index]
            if not _COMMENT.match(raw):
                # The comment goes first, quotes or not; then tabs count as four blanks.
                indented = _INDENTED.match(raw.partition("#")[0].replace("\t", "    "))
                if indented is None:
                    break
                body.append(Line(index + 1, raw, indented[1], ends[index]))
            index += 1
        yield Section(line, tuple(body), min(index + 1, len(raw_lines)), is_last_line)
