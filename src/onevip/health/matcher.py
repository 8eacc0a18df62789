"""Regular expressions over bodies, so that one that backtracks delays no other check.

Python's `re` holds the interpreter lock while it searches, so a thread would not help. A short
search that cannot repeat anything is done at once; any other in a worker process, which the kernel
ends after a second of CPU time. A pattern has one worker at a time, so that however many servers
it is for, the workers are there for the others; one that was slow once also rests between.
"""

from __future__ import annotations

import asyncio
import re
import signal
import struct
import sys
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

from onevip.health.untried import OWN_TROUBLE, CouldNotTry
from onevip.model import OnevipError

CPU_LIMIT_S = 1.0
MAX_WORKERS = 4
#: Slow patterns, all of them together, get a fifth of one CPU.
REST = 4
#: Length of a pattern times that of a body: what a search without repetition takes at worst, some
#: milliseconds.
SHORT_SEARCH = 1 << 22
_WORKER = Path(__file__).with_name("match_worker.py")
#: Without any of these a search is linear in the body.
_MAY_BACKTRACK = frozenset("*+?{|")
_HEADER = struct.Struct("!II")
_FOUND = {b"1": True, b"0": False}


class TooSlow(OnevipError):
    """The pattern needs more CPU time on this body than it may have."""


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("utf-8", "surrogateescape"))


class Matcher:
    """Searches patterns in bodies. Starts its workers when it first needs them."""

    def __init__(self, cpu_limit_s: float = CPU_LIMIT_S) -> None:
        self._cpu_limit_s = cpu_limit_s
        self._idle: list[asyncio.subprocess.Process] = []
        self._free = asyncio.Semaphore(MAX_WORKERS)
        self._slow: set[str] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._one_slow_search = asyncio.Lock()
        self._rest_until_s = 0.0

    async def search(self, pattern: str, body: bytes) -> bool:
        """Whether the pattern is found anywhere in the body. Raises TooSlow, CouldNotTry."""
        short = len(pattern) * len(body) <= SHORT_SEARCH
        if short and _MAY_BACKTRACK.isdisjoint(pattern):
            return _compiled(pattern).search(body) is not None
        turn = self._turns.setdefault(pattern, asyncio.Lock())
        if pattern not in self._slow:
            async with turn:
                # It may have been found out while this one waited.
                if pattern not in self._slow:
                    return await self._search_in_worker(pattern, body)
        async with self._one_slow_search:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._rest_until_s - loop.time()))
            try:
                return await self._search_in_worker(pattern, body)
            except TooSlow:
                self._rest_until_s = loop.time() + REST * self._cpu_limit_s
                raise

    async def close(self) -> None:
        """End the workers."""
        for worker in self._idle:
            await _end(worker)
        self._idle.clear()

    async def _search_in_worker(self, pattern: str, body: bytes) -> bool:
        async with self._free:
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                answer = await _ask(worker, pattern.encode("utf-8", "surrogateescape"), body)
            except BaseException:  # cancelled, and the worker is still at it
                await _end(worker)
                raise
            if answer in _FOUND:
                self._idle.append(worker)
                return _FOUND[answer]
            # Not killed: that may reap it unseen, and how it ended is what we want to know.
            await worker.wait()
        if worker.returncode != -signal.SIGVTALRM:
            raise CouldNotTry("the process that matches patterns has died")
        self._slow.add(pattern)
        raise TooSlow(f"takes more than {self._cpu_limit_s:g} s: the pattern backtracks")

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_WORKER), str(self._cpu_limit_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the director
            )
        except OSError as error:
            trouble = OWN_TROUBLE.get(error.errno or 0, str(error))
            raise CouldNotTry(f"patterns cannot be matched: {trouble}") from error


async def _ask(worker: asyncio.subprocess.Process, pattern: bytes, body: bytes) -> bytes:
    """b"1" or b"0", or b"" when the worker died over it."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(_HEADER.pack(len(pattern), len(body)) + pattern + body)
        await worker.stdin.drain()
        return await worker.stdout.read(1)
    except ConnectionError:
        return b""


async def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()
