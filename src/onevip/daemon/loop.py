"""The daemon's event loop: signals, timers and files, each of which wakes the director.

Short on purpose: what is to be done is decided in `director`, here only when.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from onevip.config import load
from onevip.daemon.director import Director
from onevip.daemon.links import Links
from onevip.daemon.ownership import Ownership
from onevip.daemon.watch_file import WatchFile
from onevip.engines.base import Engine
from onevip.health import Checker, State
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import probes
from onevip.model import Check, Configuration, OnevipError

log = logging.getLogger(__name__)

T = TypeVar("T")
Load = Callable[[str], Configuration]
Surroundings = Callable[[], list[str]]

#: Verdicts that come together change the table together.
GATHER_S = 0.01
RETRY_S = 1.0
TICK_S = 1.0


def _nothing() -> None:
    """The default of what is called each second."""


def _no_warnings() -> list[str]:
    return []


async def run(
    file: str,
    engine: Engine,
    run_directory: Path,
    *,
    on_tick: Callable[[], None] = _nothing,
    surroundings: Surroundings = _no_warnings,
    load: Load = load,
) -> int:
    """Keep the table of this engine as the file and the real servers' health want it.

    Returns the exit status once TERM or INT has come. Raises OnevipError when it cannot start.
    """
    ownership = Ownership(run_directory, file)
    try:
        ownership.acquire()
    except OSError as error:
        raise OnevipError(f"{run_directory}: {error.strerror}") from error
    daemon = Daemon(file, engine, ownership, on_tick=on_tick, surroundings=surroundings, load=load)
    try:
        await daemon.start()
        await daemon.stopping.wait()
        return await daemon.stop()
    finally:
        await daemon.close()
        ownership.release()


class Daemon:
    """One run of the loop: wires the rooms together and turns events into calls."""

    def __init__(
        self,
        file: str,
        engine: Engine,
        ownership: Ownership,
        *,
        on_tick: Callable[[], None],
        surroundings: Surroundings,
        load: Load,
    ) -> None:
        self.stopping = asyncio.Event()
        self._file = file
        self._engine = engine
        self._on_tick = _Guarded(on_tick)
        self._follow = _Guarded(getattr(engine, "follow_interfaces", _nothing))
        self._surroundings = surroundings
        self._load = load
        self._matcher = Matcher()
        self._checker = Checker(
            partial(attempt, probes=probes(self._matcher)),
            self._heard,
        )
        self._director = Director(engine, ownership, self._checker, self._wake)
        self._links = Links(self._follow)
        self._converging: asyncio.TimerHandle | None = None
        self._reload_wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Parse, put in force, begin to check. Raises OnevipError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_once, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        watch = WatchFile(self._file)
        configuration = self._load(self._file)
        self._director.start(configuration)
        self._tell_warnings(configuration)
        log.info("started on %s: %s", self._file, _size(configuration))
        self._links.start()
        self._follow()
        self._tasks = [
            loop.create_task(self._tick()),
            loop.create_task(self._reload_when_wanted(watch)),
            loop.create_task(self._watch(watch)),
        ]

    async def stop(self) -> int:
        """Orderly end; the exit status."""
        await self._end_tasks()
        return 0 if self._director.stop() else 1

    async def close(self) -> None:
        """Let go of everything; the table is not touched."""
        await self._end_tasks()
        await self._matcher.close()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)

    async def _end_tasks(self) -> None:
        self._links.stop()
        if self._converging:
            self._converging.cancel()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._checker.stop()

    def _stop_once(self, number: signal.Signals) -> None:
        log.info("stopping on SIG%s", signal.Signals(number).name.removeprefix("SIG"))
        self.stopping.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            # A second one ends the process at once, wherever it hangs.
            asyncio.get_running_loop().remove_signal_handler(again)
            signal.signal(again, signal.SIG_DFL)

    def _heard(self, check: Check, before: State, after: State) -> None:
        self._director.heard(check, before, after)

    def _wake(self, delay_s: float = GATHER_S) -> None:
        if self._converging is None and not self.stopping.is_set():
            loop = asyncio.get_running_loop()
            self._converging = loop.call_later(delay_s, self._converge)

    def _converge(self) -> None:
        self._converging = None
        if not self._director.converge():
            self._wake(RETRY_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._on_tick()

    async def _watch(self, watch: WatchFile) -> None:
        """autoreload: look at the file each checkinterval."""
        while True:
            await asyncio.sleep(self._director.configuration.check_interval_s)
            if self._director.configuration.autoreload and await watch.has_changed():
                log.info("configuration file %s has changed on disk", self._file)
                self._reload_wanted.set()

    async def _reload_when_wanted(self, watch: WatchFile) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            watch.take()
            try:
                # Names are looked up, which may take seconds: the checks go on meanwhile.
                configuration = await _in_thread(lambda: self._load(self._file))
                self._director.use(configuration)
            except OnevipError as error:
                log.error("not reloaded, the last good configuration stays in force: %s", error)
            except Exception:
                log.exception("not reloaded, the last good configuration stays in force")
            else:
                log.info("reloaded %s: %s", self._file, _size(configuration))
                self._tell_warnings(configuration)

    def _tell_warnings(self, configuration: Configuration) -> None:
        for warning in configuration.warnings:
            log.warning("%s", warning)
        try:
            for warning in self._surroundings():
                log.warning("%s", warning)
        except Exception:
            log.exception("the surroundings could not be looked at")


class _Guarded:
    """A call whose failure is logged, once for each reason, and ends nothing."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._trouble = ""

    def __call__(self) -> None:
        trouble = ""
        try:
            self._function()
        except OnevipError as error:
            trouble = str(error)
            if trouble != self._trouble:
                log.error("%s", trouble)
        except Exception as error:
            trouble = repr(error)
            if trouble != self._trouble:
                log.exception("%s failed", self._function)
        self._trouble = trouble


def _size(configuration: Configuration) -> str:
    real_servers = sum(len(service.real_servers) for service in configuration.services)
    return f"{len(configuration.services)} virtual services, {real_servers} real servers"


async def _in_thread(function: Callable[[], T]) -> T:
    """Run it in a thread that does not hold up the end of the process, as an executor's would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as raised:  # noqa: BLE001 - handed on to who awaits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True).start()
    return await done
