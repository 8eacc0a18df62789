"""The daemon's event loop: signals, timers and files, each of which wakes the director.

Short on purpose: what is to be done is decided in `director`, here only when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from onevip.config import load
from onevip.daemon.check_paths import CheckPaths
from onevip.daemon.director import Director
from onevip.daemon.events import (
    Event,
    FileChanged,
    Listener,
    NotReloaded,
    Reloaded,
    Started,
    Stopped,
    Stopping,
)
from onevip.daemon.journal import Journal
from onevip.daemon.links import Links
from onevip.daemon.ownership import Ownership
from onevip.daemon.watch_file import WatchFile
from onevip.engines.base import Engine
from onevip.health import Checker, Probed
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Configuration, OnevipError, Table, words_of

log = logging.getLogger(__name__)

T = TypeVar("T")
Load = Callable[[str], Configuration]
Surroundings = Callable[[Table], list[str]]

#: Verdicts that come together change the table together.
GATHER_S = 0.01
RETRY_S = 1.0
TICK_S = 1.0
ROOM_S = 0.1  # a flood of 100,000 connections a second may bring 10,000 meanwhile


def _nothing() -> list[str]:
    return []


def _no_warnings(_: Table) -> list[str]:
    return []


async def run(
    file: str,
    engine: Engine,
    run_directory: Path,
    *,
    on_tick: Callable[[], list[str] | None] = _nothing,
    surroundings: Surroundings = _no_warnings,
    load: Load = load,
    listeners: Iterable[Listener] | None = None,
) -> int:
    """Keep the table of this engine as the file and the real servers' health want it.

    `on_tick` is called each second, `surroundings` in a thread at the start and after a reload;
    what they return is logged. An engine may have `adopt` (called first), `follow_interfaces`,
    `upkeep` (each second), `make_room` (ten times a second) and `check_paths` (check_paths.py).
    `listeners` hear what happens; by default only the log does, in onevip's own words.

    Returns the exit status once TERM or INT has come. Raises OnevipError when it cannot start.
    """
    ownership = Ownership(run_directory, file)
    try:
        ownership.acquire()
    except OSError as error:
        raise OnevipError(f"{run_directory}: {words_of(error)}") from error
    daemon = Daemon(
        file,
        engine,
        ownership,
        on_tick=on_tick,
        surroundings=surroundings,
        load=load,
        listeners=(Journal(),) if listeners is None else tuple(listeners),
    )
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
        on_tick: Callable[[], list[str] | None],
        surroundings: Surroundings,
        load: Load,
        listeners: tuple[Listener, ...],
    ) -> None:
        self.stopping = asyncio.Event()
        self._file = file
        self._engine = engine
        self._each_second = (_Guarded(on_tick), _Guarded(_optional(engine, "upkeep")))
        self._make_room = _Guarded(_optional(engine, "make_room"))
        self._follow = _Guarded(_optional(engine, "follow_interfaces"))
        self._surroundings = surroundings
        self._load = load
        self._listeners = listeners
        self._matcher = Matcher()
        self._check_paths = CheckPaths(engine)
        tools = Tools(self._matcher.search, self._check_paths.mark_of)
        self._checker = Checker(
            partial(attempt, probes=PROBES, tools=tools),
            self._heard,
        )
        self._director = Director(engine, ownership, self._checker, self._wake, self._tell)
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
        for line in _optional(self._engine, "adopt")() or ():
            log.info("%s", line)
        self._check_paths.use(configuration)
        self._director.start(configuration)
        self._tell(Started(configuration))
        self._links.start()
        self._follow()
        self._tasks = [
            loop.create_task(self._tell_warnings(configuration)),
            loop.create_task(self._every(TICK_S, *self._each_second)),
            loop.create_task(self._every(ROOM_S, self._make_room)),
            loop.create_task(self._reload_when_wanted(watch)),
            loop.create_task(self._watch(watch)),
        ]

    async def stop(self) -> int:
        """Orderly end; the exit status."""
        await self._end_tasks()
        clean = self._director.stop()
        self._tell(Stopped(self._director.configuration, clean))
        return 0 if clean else 1

    async def close(self) -> None:
        """Let go of everything; the table is not touched."""
        await self._end_tasks()
        for listener in self._listeners:
            try:
                await listener.close()
            except Exception:
                log.exception("%s could not be closed", listener)
        self._check_paths.end()
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
        name = signal.Signals(number).name.removeprefix("SIG")
        self._tell(Stopping(self._director.configuration, name))
        self.stopping.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            # A second one ends the process at once, wherever it hangs.
            asyncio.get_running_loop().remove_signal_handler(again)
            signal.signal(again, signal.SIG_DFL)

    def _heard(self, probed: Probed) -> None:
        self._director.heard(probed)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener.heard(event)
            except Exception:
                log.exception("%s could not take in %s", listener, type(event).__name__)

    def _wake(self, delay_s: float = GATHER_S) -> None:
        if self._converging is None and not self.stopping.is_set():
            loop = asyncio.get_running_loop()
            self._converging = loop.call_later(delay_s, self._converge)

    def _converge(self) -> None:
        if self._converging:
            self._converging.cancel()
        self._converging = None
        if not self._director.converge():
            self._wake(RETRY_S)

    async def _every(self, seconds: float, *calls: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            for call in calls:
                call()

    async def _watch(self, watch: WatchFile) -> None:
        """autoreload: look at the file each checkinterval."""
        while True:
            await asyncio.sleep(self._director.configuration.check_interval_s)
            if self._director.configuration.autoreload and await watch.has_changed():
                self._tell(FileChanged(self._director.configuration))
                self._reload_wanted.set()

    async def _reload_when_wanted(self, watch: WatchFile) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            watch.take()
            former = self._director.configuration
            try:
                # Names are looked up, which may take seconds: the checks go on meanwhile.
                configuration = await _in_thread(lambda: self._load(self._file))
                self._director.use(configuration)
                self._check_paths.use(configuration)  # before the new checks' first probes
            except OnevipError as error:
                self._tell(NotReloaded(former, error))
            except Exception:
                log.exception("not reloaded, the last good configuration stays in force")
            else:
                self._tell(Reloaded(configuration, former))
                self._converge()
                await self._tell_warnings(configuration)

    async def _tell_warnings(self, configuration: Configuration) -> None:
        for warning in configuration.warnings:
            log.warning("%s", warning)
        try:
            table = self._engine.read()
            for warning in await _in_thread(lambda: self._surroundings(table)):
                log.warning("%s", warning)
        except Exception:
            log.exception("the surroundings could not be looked at")


def _optional(engine: Engine, name: str) -> Callable[[], list[str] | None]:
    """A method that not every engine has."""
    found: Callable[[], list[str] | None] = getattr(engine, name, _nothing)
    return found


class _Guarded:
    """A call whose failure is logged and ends nothing; its words too, each time they are new."""

    def __init__(self, function: Callable[[], list[str] | None]) -> None:
        self._function = function
        self._said: list[str] = []

    def __call__(self) -> None:
        try:
            said = self._function() or []
            level = logging.WARNING
        except OnevipError as error:
            said, level = [str(error)], logging.ERROR
        except Exception as error:
            said, level = [f"{type(error).__name__}: {error}"], logging.ERROR
            if said != self._said:
                log.exception("%s failed", self._function)
        for line in said:
            if line not in self._said:
                log.log(level, "%s", line)
        self._said = said


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
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True).start()
    return await done
