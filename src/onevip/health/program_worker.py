"""The worker process of `programs`: starts programs, ends them, tells how they ended.

Lives until its input ends, which it does however the director went; then it ends its programs.
Run as a file: needs nothing of the package, so that it starts fast and stays small.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: What a program may show of its words; the rest is read and forgotten.
MAX_TEXT = 1024
READ_SIZE = 1 << 16
#: A program that says more is read this often: it waits for us, not we for it.
DRAIN_EVERY_S = 0.02
#: From TERM to KILL; less when the director is gone.
GRACE_S = 1.0
LAST_GRACE_S = 0.3
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Running:
    """One program: the leader of a session and a process group of its own."""

    def __init__(self, number: int, arguments: list[str]) -> None:
        """Raises OSError when it cannot be started."""
        self.number = number
        self.text = b""
        self.output, theirs = os.pipe()
        try:
            os.set_blocking(self.output, False)
            self.pid = _spawn(arguments, theirs)
        except OSError:
            os.close(self.output)
            raise
        finally:
            os.close(theirs)
        try:
            self.handle = os.pidfd_open(self.pid)
        except OSError:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.output)
            raise

    def send(self, number: signal.Signals) -> None:
        """To its whole group. Until it is waited for, its pid names no other."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def read(self) -> int:
        """Take in what it says, once; how much that was. Raises BlockingIOError."""
        said = os.read(self.output, READ_SIZE)
        self.text += said[: MAX_TEXT - len(self.text)]
        return len(said)


class Worker:
    """The loop. One JSON object a line: in `{"run": 7, "arguments": […]}` and `{"end": 7}`, out
    `{"program": 7, …}` with its `pid`; then `status` and `text`. Or with the `errno` of a start.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._selector = selectors.DefaultSelector()
        self._selector.register(source, selectors.EVENT_READ, self._hear)
        self._heard = b""
        self._running: dict[int, Running] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._is_over = False

    def work(self) -> None:
        while self._running or not self._is_over:
            wait_s = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for key, _ in self._selector.select(wait_s):
                key.data()
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()

    def _hear(self) -> None:
        said = os.read(self._source, READ_SIZE)
        if not said:
            self._selector.unregister(self._source)
            self._is_over = True
            for program in self._running.values():
                self._end(program, LAST_GRACE_S)
            return
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            if "run" in order:
                self._start(order["run"], order["arguments"])
            elif order["end"] in self._running:
                self._end(self._running[order["end"]], GRACE_S)

    def _start(self, number: int, arguments: list[str]) -> None:
        try:
            program = Running(number, arguments)
        except OSError as error:
            # Not Path.exists, which raises for a name that is too long.
            self._tell(number, errno=error.errno, exists=os.path.exists(arguments[0]))  # noqa: PTH110
            return
        self._running[number] = program
        self._selector.register(program.handle, selectors.EVENT_READ, lambda: self._ended(program))
        self._listen(program)
        self._tell(number, pid=program.pid)

    def _listen(self, program: Running) -> None:
        if program.number in self._running:
            self._selector.register(
                program.output, selectors.EVENT_READ, lambda: self._said(program)
            )

    def _said(self, program: Running) -> None:
        # The handle's event of the same round may have been first.
        if program.number not in self._running:
            return
        said = program.read()
        if not said or len(program.text) == MAX_TEXT:
            self._selector.unregister(program.output)
        if said and len(program.text) == MAX_TEXT:
            self._after(DRAIN_EVERY_S, lambda: self._listen(program))

    def _end(self, program: Running, grace_s: float) -> None:
        program.send(signal.SIGTERM)

        def kill() -> None:
            if self._running.get(program.number) is program:
                program.send(signal.SIGKILL)

        self._after(grace_s, kill)

    def _ended(self, program: Running) -> None:
        program.send(signal.SIGKILL)  # whom it left behind
        _, status = os.waitpid(program.pid, 0)
        del self._running[program.number]
        self._selector.unregister(program.handle)
        with suppress(KeyError):
            self._selector.unregister(program.output)
        with suppress(BlockingIOError):  # some other process may hold it open
            program.read()
        os.close(program.handle)
        os.close(program.output)
        text = program.text.decode("utf-8", "replace")
        self._tell(program.number, status=os.waitstatus_to_exitcode(status), text=text)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._count, call))

    def _tell(self, number: int, **what: object) -> None:
        line = json.dumps({"program": number, **what}).encode() + b"\n"
        with suppress(BrokenPipeError):  # the director is gone: the input ends, too
            while line:
                line = line[os.write(self._sink, line) :]


def _spawn(arguments: list[str], output: int) -> int:
    """Start a program, found by PATH when its name has no slash; its pid. Raises OSError."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]

    def spawn(argv: list[str]) -> int:
        try:
            return os.posix_spawnp(
                argv[0], argv, os.environ, file_actions=actions, setsid=True, setsigdef=SIGNALS
            )
        except ValueError as error:  # a NUL in a name or an argument
            raise OSError(errno.EINVAL, str(error)) from error

    try:
        return spawn(arguments)
    except OSError as error:
        # execvp(3) does so with a script that has no "#!" line.
        if error.errno != errno.ENOEXEC or "/" not in arguments[0]:
            raise
        return spawn(["/bin/sh", *arguments])


if __name__ == "__main__":
    Worker(0, 1).work()
