"""Whom the file obeys: it names programs to run and servers to trust, so when root reads it, nobody
else may be able to write it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from onevip.model import ConfigError

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Opened(NamedTuple):
    """A file's text, and whether everybody may read it."""

    text: str
    is_world_readable: bool


def opened(path: str | Path) -> Opened:
    """Read a regular file. Raises ConfigError, of line 0; see `why_unsafe` for root."""
    file = str(path)
    try:
        # Not blocking: a pipe could be waited for, and a second look at it would find nothing.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", closefd=True) as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise ConfigError(file, 0, "is no regular file", "write it to one")
            if os.geteuid() == 0 and (reason := why_unsafe(file, found)):
                raise ConfigError(
                    file,
                    0,
                    reason,
                    "it names programs that root runs, so only root may be able to change it",
                    ours=True,
                )
            text = decoded(stream.read())
    except OSError as error:
        message, verbatim = f"cannot be read: {error.strerror}", f"can not open file {file}"
        raise ConfigError(file, 0, message, verbatim=verbatim) from error
    return Opened(text, bool(found.st_mode & stat.S_IROTH))


def decoded(content: bytes) -> str:
    """Not in text mode: that would hide a carriage return, which ldirectord sees."""
    return content.decode("utf-8", "surrogateescape")


def why_unsafe(path: str, found: os.stat_result) -> str:
    """How others than root could change what root reads here, as a predicate; "" when they cannot.

    `found` is the opened file. A directory in which others may write lets them put another file in
    its place, unless it is sticky, as /tmp; that goes for the directories of symbolic links, too.
    """
    if found.st_uid != 0:
        return f"belongs to user {found.st_uid}, not to root: chown root {path}"
    if found.st_mode & _WRITABLE_BY_OTHERS:
        return f"can be written by others than root: chmod go-w {path}"
    for directory in _directories(path):
        of = directory.stat()
        if of.st_uid != 0:
            return f"lies under {directory}, which belongs to user {of.st_uid}, not to root"
        if of.st_mode & _WRITABLE_BY_OTHERS and not of.st_mode & stat.S_ISVTX:
            return f"lies under {directory}, which others than root may write: chmod go-w it"
    return ""


def _directories(path: str) -> Iterator[Path]:
    """Every directory on the way to the file, by each link that leads there."""
    ways, seen = [Path(path).absolute()], set[Path]()
    while ways:
        way = ways.pop()
        if way in seen:
            continue
        seen.add(way)
        for part in (way, *way.parents):
            if part.is_symlink():
                ways.append(part.parent / part.readlink() / way.relative_to(part))
            elif part != way:
                yield part
