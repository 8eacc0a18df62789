"""Programs one after another: for each key one at a time, and of those asked for meanwhile only
the newest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence

from onevip import processes
from onevip.health.prober import printable
from onevip.model import words_of

log = logging.getLogger(__name__)

LIMIT_S = 60.0
#: So many run at once: of a thousand services the last server may go down in one second.
AT_ONCE = 64
#: So long the end of the daemon waits for programs that it has started.
CLOSE_S = 5.0

Run = Callable[..., Awaitable[processes.Ended]]
Job = Callable[[], Awaitable[object]]


class Turns:
    """Runs jobs by key. Needs a running loop."""

    def __init__(self, run: Run = processes.run) -> None:
        self._run = run
        self._next: dict[Hashable, Job] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    def ask(self, key: Hashable, job: Job) -> None:
        """Do this when what runs for this key has ended, unless something newer is asked for."""
        self._next[key] = job
        if key not in self._tasks:
            self._tasks[key] = asyncio.get_running_loop().create_task(self._work(key))

    async def close(self) -> None:
        """Let what runs or waits come to its end for a few seconds; then its group is killed."""
        tasks = list(self._tasks.values())
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=CLOSE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(
        self, what: str, argv: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> bool:
        """Run a program and log what became of it; whether it succeeded."""
        try:
            ended = await self._run(argv, limit_s=LIMIT_S, env=environment)
        except OSError as error:
            log.error("%s cannot be run: %s", what, words_of(error))
            return False
        except asyncio.CancelledError:
            log.error("%s was killed: it had not ended when the daemon did", what)
            raise
        said = printable(ended.output.decode("utf-8", "replace").strip().replace("\n", " / "))
        level = logging.INFO if ended.succeeded else logging.ERROR
        log.log(level, "%s %s%s", what, ended, f": {said}" if said else "")
        return ended.succeeded

    async def _work(self, key: Hashable) -> None:
        try:
            while key in self._next:
                async with self._places:
                    await self._next.pop(key)()
        except Exception:
            log.exception("what was to be run for %s failed", key)
        finally:
            del self._tasks[key]
