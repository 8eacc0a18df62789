"""A process in the background, and its first word to who started it. Forks: before any thread."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

_READY = b"ready"
_PIPE = 3  # the descriptor after the three that every process has


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended before it was ready: with which exit status, and what is to be said."""

    status: int
    words: str


#: What the background does. It calls its argument when it is ready, and returns its exit status
#: when it ends, or why it never was ready.
Work = Callable[[Callable[[], None]], Failed | int]


def start(work: Work) -> Failed | None:
    """Run that in a daemon of its own; None as soon as it is ready, else why it ended before.

    The daemon leads no session and has no terminal: forked twice. It is in "/", with /dev/null for
    its three streams and no other descriptor of its starter.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become_daemon(work, writing)
        finally:
            os._exit(1)  # whatever happens, the starter's code never runs here
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        word = pipe.read()
    if word == _READY:
        return None
    status, _, words = word.partition(b"\n")
    return Failed(int(status or b"1"), words.decode() or "the daemon ended without a word")


def _become_daemon(work: Work, writing: int) -> NoReturn:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    _keep_only(writing)
    starter = _Starter()
    try:
        ended = work(starter.say_ready)
    except Exception as error:  # noqa: BLE001 - told to who started us
        ended = Failed(1, f"{type(error).__name__}: {error}")
    if isinstance(ended, int):
        starter.say_ready()  # it found nothing to do
        os._exit(ended)
    starter.say(f"{ended.status}\n{ended.words}".encode())
    os._exit(ended.status)


def _keep_only(writing: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.dup2(writing, _PIPE, inheritable=False)
    os.closerange(_PIPE + 1, os.sysconf("SC_OPEN_MAX"))


class _Starter:
    """Who waits for our first word; later ones it would not hear."""

    def __init__(self) -> None:
        self._waits = True

    def say_ready(self) -> None:
        self.say(_READY)

    def say(self, word: bytes) -> None:
        if self._waits:
            self._waits = False
            with contextlib.suppress(BrokenPipeError):  # interrupted; we live on
                os.write(_PIPE, word)
            os.close(_PIPE)
