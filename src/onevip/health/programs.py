"""Runs programs that check real servers, by a worker process that starts and ends them.

A fork or an exec that takes its time (a file system that hangs) holds up no other check, and when
the director is killed, its programs are ended all the same. Nothing here decides about servers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onevip.health.untried import OWN_TROUBLE, CouldNotTry

log = logging.getLogger(__name__)

#: All that a program gets of the director's environment; PATH has a default.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: So many programs may be in their first half second at once: what then still runs mostly waits.
YOUNG_AT_ONCE = 8 * (os.cpu_count() or 1)
YOUNG_S = 0.5
START_LIMIT_S = 10.0
STOP_LIMIT_S = 2.0
_WORKER = Path(__file__).with_name("program_worker.py")


class NotExecutable(OSError):
    """There is no such program, or it may not be executed. `exists`: a file of its name does."""

    def __init__(self, number: int, *, exists: bool) -> None:
        super().__init__(number, os.strerror(number))
        self.exists = exists


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `status`: its exit status, or minus the signal that killed it."""

    status: int
    text: str  # the beginning of what it wrote to its standard output and error output


class Program:
    """A running program. Whoever has it calls `stop` when he is done with it."""

    def __init__(self, programs: Programs, number: int) -> None:
        self._programs = programs
        self._number = number
        self.started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """TERM to its process group, and KILL a second later. Nothing when it has ended."""
        self._programs.stop(self._number)
        self.ended.cancel()


class Programs:
    """Starts its worker when it is first needed, and again when that has died."""

    def __init__(self, young_at_once: int = YOUNG_AT_ONCE) -> None:
        self._places = asyncio.Semaphore(young_at_once)
        self._starting = asyncio.Lock()
        self._worker: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._running: dict[int, Program] = {}
        self._count = 0

    async def start(self, arguments: Sequence[str]) -> Program:
        """Raises NotExecutable, and CouldNotTry when it is this machine that cannot."""
        await self._places.acquire()
        leave = asyncio.get_running_loop().call_later(YOUNG_S, self._places.release)
        program = None
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await self._need_worker()
                self._count += 1
                program = self._running[self._count] = Program(self, self._count)
                self._tell(run=self._count, arguments=list(arguments))
                await program.started
        except BaseException as error:
            self._leave(leave)
            if program:
                program.stop()
            if isinstance(error, TimeoutError):
                raise CouldNotTry(
                    f"{arguments[0]} did not start within {START_LIMIT_S:g} s"
                ) from error
            raise
        program.ended.add_done_callback(lambda _: self._leave(leave))
        return program

    async def close(self) -> None:
        """End all programs."""
        if worker := self._worker:
            assert worker.stdin is not None
            worker.stdin.close()
            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await worker.wait()
            except TimeoutError:
                worker.kill()
        if self._listening:
            # Starting a program from a file system that hangs it cannot even be killed.
            await asyncio.wait([self._listening], timeout=STOP_LIMIT_S)
            self._listening.cancel()

    def stop(self, number: int) -> None:
        """End the program of this number, if it still runs."""
        if number in self._running:
            self._tell(end=number)

    def _tell(self, **order: object) -> None:
        if self._worker is not None and self._worker.stdin is not None:
            self._worker.stdin.write(json.dumps(order).encode() + b"\n")

    def _leave(self, place: asyncio.TimerHandle) -> None:
        if not place.cancelled() and place.when() > asyncio.get_running_loop().time():
            place.cancel()
            self._places.release()

    async def _need_worker(self) -> None:
        async with self._starting:
            if self._worker is None:
                try:
                    self._worker = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-I", "-S", str(_WORKER)),
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        env=_environment(),
                        cwd="/",
                        start_new_session=True,  # Ctrl-C is for the director
                    )
                except OSError as error:
                    trouble = OWN_TROUBLE.get(error.errno or 0, str(error))
                    raise CouldNotTry(f"programs cannot be started: {trouble}") from error
                self._listening = asyncio.create_task(self._listen(self._worker))

    async def _listen(self, worker: asyncio.subprocess.Process) -> None:
        assert worker.stdout is not None
        while line := await worker.stdout.readline():
            self._heard(json.loads(line))
        await worker.wait()
        self._worker = None
        for program in self._running.values():
            if program.started.done() and not program.started.exception():
                with suppress(ProcessLookupError):
                    os.killpg(program.started.result(), signal.SIGKILL)
            trouble = CouldNotTry("the process that runs programs has died")
            _settle(program.started, trouble)
            _settle(program.ended, trouble)
        self._running.clear()

    def _heard(self, said: dict[str, Any]) -> None:
        program = self._running[said["program"]]
        if pid := said.get("pid"):
            if not program.started.done():
                program.started.set_result(pid)
            return
        del self._running[said["program"]]
        if number := said.get("errno"):
            _settle(program.started, _refused(number, exists=said["exists"]))
            program.ended.cancel()
        elif not program.ended.done():
            program.ended.set_result(Ended(said["status"], said["text"]))


def _environment() -> dict[str, str]:
    given = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {"PATH": PATH, **given}


def _refused(number: int, *, exists: bool) -> Exception:
    """Of the errno of execve(2)."""
    if trouble := OWN_TROUBLE.get(number):
        return CouldNotTry(f"programs cannot be started: {trouble}")
    return NotExecutable(number, exists=exists)


def _settle(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting any more
