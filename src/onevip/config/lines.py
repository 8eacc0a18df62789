"""The line grammar of ldirectord.cf (spec ldirectord §3): which line belongs to which section.

Knows indentation, comments and section ends; knows no directive but `virtual`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SECTION_START = re.compile(r"virtual6?\s*=")
_COMMENT = re.compile(r"\s*#")
_BLANK = re.compile(r"\s*$")
_INDENTED = re.compile(r" {4,}(.+)")
_DIRECTIVE = re.compile(r"([A-Za-z0-9_-]+)\s*=\s*(.*)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that holds something: where it stands, as written, and what it means."""

    number: int
    raw: str
    text: str  # without indentation and, inside a section, without its comment

    def directive(self) -> tuple[str, str] | None:
        """(name, value) of `name = value`, or None."""
        match = _DIRECTIVE.match(self.text)
        return (match[1], match[2]) if match else None


@dataclass(frozen=True, slots=True)
class Section:
    """A `virtual=` line and the indented lines under it."""

    head: Line
    body: tuple[Line, ...]
    last_line_read: int  # the line that ended the section, or the last one of the file


def split(text: str) -> Iterator[Line | Section]:
    """Global lines and sections, in the order of the file."""
    raw_lines = text.split("\n")
    if raw_lines[-1] == "":
        raw_lines.pop()
    index = 0
    while index < len(raw_lines):
        line = Line(index + 1, raw_lines[index], raw_lines[index])
        index += 1
        if _COMMENT.match(line.raw) or _BLANK.match(line.raw):
            continue
        if not _SECTION_START.match(line.raw):
            yield line
            continue
        body: list[Line] = []
        while index < len(raw_lines):
            raw = raw_lines[index]
            if not _COMMENT.match(raw):
                # The comment goes first, quotes or not; then tabs count as four blanks.
                indented = _INDENTED.match(raw.partition("#")[0].replace("\t", "    "))
                if indented is None:
                    break
                body.append(Line(index + 1, raw, indented[1]))
            index += 1
        yield Section(line, tuple(body), min(index + 1, len(raw_lines)))
