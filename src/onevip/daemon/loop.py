"""The daemon's event loop: signals, timers and files, each of which wakes the director.

Short on purpose: what is to be done is decided in `director`, here only when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from onevip.config import load
from onevip.daemon import outside
from onevip.daemon.check_paths import CheckPaths
from onevip.daemon.control import Command, Control
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
from onevip.daemon.guarded import Guarded, nothing, optional
from onevip.daemon.journal import Journal
from onevip.daemon.links import Links
from onevip.daemon.maintenance import Maintenance
from onevip.daemon.ownership import Ownership
from onevip.daemon.status import Status, uncheckable
from onevip.daemon.threads import in_thread
from onevip.daemon.watch_file import WatchFile
from onevip.engines.base import Engine
from onevip.health import Checker, Probed
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Configuration, OnevipError, Table, words_of

log = logging.getLogger(__name__)

Load = Callable[[str], Configuration]
Surroundings = Callable[[Table], list[str]]
Advice = Callable[[Configuration], list[str]]

#: Verdicts that come together change the table together.
GATHER_S = 0.01
RETRY_S = 1.0
TICK_S = 1.0
#: How often the table is looked at for what somebody changed by hand, to log it.
HANDS_S = 10.0
#: So long the start waits for a maintenance directory that does not answer.
PATIENCE_S = 1.0
ROOM_S = 0.1  # a flood of 100,000 connections a second may bring 10,000 meanwhile


def _no_warnings(_: object) -> list[str]:
    return []


def _nobody() -> None:
    pass


async def run(
    file: str,
    engine: Engine,
    run_directory: Path,
    *,
    on_tick: Callable[[], list[str] | None] = nothing,
    surroundings: Surroundings = _no_warnings,
    load: Load = load,
    listeners: Iterable[Listener] | None = None,
    advice: Advice = _no_warnings,
    ready: Callable[[], None] = _nobody,
) -> int:
    """Keep the table of this engine as the file and the real servers' health want it.

    `on_tick` is called each second, `surroundings` (what is wrong around the table) and `advice`
    (what the configuration needs) in a thread at the start and after a reload; what they return
    is logged. `ready` is called once the first configuration is in force. An engine may have
    `adopt` (called first), `follow_interfaces`, `upkeep` (each second), `make_room` (ten times a
    second) and `check_paths` (check_paths.py). `listeners` hear what happens; by default the log
    does, in onevip's own words. Mails, monitor files and programs hear it, too.

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
        listeners=(*((Journal(),) if listeners is None else listeners), *outside.listeners()),
        advice=advice,
    )
    try:
        if not await daemon.start():
            return 0
        ready()
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
        advice: Advice,
    ) -> None:
        self.stopping = asyncio.Event()
        self._file = file
        self._engine = engine
        self._make_room = Guarded(optional(engine, "make_room"))
        self._follow = Guarded(optional(engine, "follow_interfaces"))
        self._surroundings = surroundings
        self._advice = advice
        self._load = load
        self._matcher = Matcher()
        self._check_paths = CheckPaths(engine)
        self._tools = tools = Tools(self._matcher.search, self._check_paths.mark_of)
        self._checker = Checker(
            partial(attempt, probes=PROBES, tools=tools),
            self._heard,
        )
        self._director = Director(engine, ownership, self._checker, self._wake, self._tell)
        self._maintenance = Maintenance()
        status = Status(
            str(ownership.file),
            self._director,
            self._checker.next_probe_s,
            partial(uncheckable, probes=PROBES),
        )
        self._listeners = (status, *listeners)
        self._control = Control(
            ownership.directory,
            ownership.name,
            {"status": Command(status.report), "reload": Command(self.reload, waits=True)},
        )
        self._each_second = (
            Guarded(on_tick),
            Guarded(optional(engine, "upkeep")),
            self._control.hold,
        )
        self._links = Links(self._follow)
        self._converging: asyncio.TimerHandle | None = None
        self._reload_wanted = asyncio.Event()
        self._reload_awaited: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._warning: list[asyncio.Task[None]] = []  # of the configuration in force

    async def start(self) -> bool:
        """Parse, put in force, begin to check. False when a signal came before anything was done.

        Raises OnevipError.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_once, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        watch = WatchFile(self._file)
        configuration = await self._loaded()
        if configuration is None:
            return False
        for line in optional(self._engine, "adopt")() or ():
            log.info("%s", line)
        self._check_paths.use(configuration)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._maintenance.look(configuration)
        await self._control.start()  # who hears that it has started may ask
        self._director.start(configuration)
        self._tell(Started(configuration))
        self._director.maintain(self._maintenance.rows(configuration))
        self._links.start()
        self._follow()
        self._warn(configuration)
        self._tasks = [
            loop.create_task(self._every(TICK_S, *self._each_second)),
            loop.create_task(self._every(ROOM_S, self._make_room)),
            loop.create_task(self._every(HANDS_S, Guarded(self._by_hand))),
            loop.create_task(self._reload_when_wanted(watch)),
            loop.create_task(self._watch(watch)),
            loop.create_task(self._maintain()),
        ]
        return True

    async def _loaded(self) -> Configuration | None:
        """The file, or None when a signal came first: names are looked up, which may take long."""
        loading = asyncio.ensure_future(in_thread(lambda: self._load(self._file)))
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
            return loading.result() if loading.done() else None
        finally:
            loading.cancel()
            stopping.cancel()

    async def stop(self) -> int:
        """Orderly end; the exit status."""
        await self._end_tasks()
        clean = self._director.stop()
        self._tell(Stopped(self._director.configuration, clean))
        return 0 if clean else 1

    async def close(self) -> None:
        """Let go of everything, whatever fails of it; the table is not touched."""
        await _close(self._control)
        await self._end_tasks()
        await _close(self._maintenance)
        await asyncio.gather(*(_close(listener) for listener in self._listeners))
        self._check_paths.end()
        await _close(self._tools)
        await _close(self._matcher)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)

    async def _end_tasks(self) -> None:
        self._links.stop()
        if self._converging:
            self._converging.cancel()
        tasks, self._tasks = [*self._tasks, *self._warning], []
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

    async def reload(self) -> str:
        """Read the file again; the words of success. Raises OnevipError with those of failure."""
        done = asyncio.get_running_loop().create_future()
        self._reload_awaited.append(done)
        self._reload_wanted.set()
        await done
        return "the file is in force"

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
        """Look at the file each checkinterval. Without autoreload it is only told of."""
        while True:
            await asyncio.sleep(self._director.configuration.check_interval_s)
            if await watch.has_changed():
                configuration = self._director.configuration
                self._tell(FileChanged(configuration))
                if configuration.autoreload:
                    self._reload_wanted.set()

    def _by_hand(self) -> list[str]:
        services = self._director.configuration.services
        return [str(found) for one in services for found in self._director.differences(one.key)]

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._maintenance.look(self._director.configuration)
                self._director.maintain(self._maintenance.rows(self._director.configuration))
            except Exception:
                log.exception("the maintenance directory could not be looked at")

    async def _reload_when_wanted(self, watch: WatchFile) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            awaited, self._reload_awaited = self._reload_awaited, []
            watch.take()
            former = self._director.configuration
            try:
                # Names are looked up, which may take seconds: the checks go on meanwhile.
                configuration = await in_thread(lambda: self._load(self._file))
                self._director.use(configuration)
                self._check_paths.use(configuration)  # before the new checks' first probes
            except OnevipError as error:
                self._not_reloaded(former, error, awaited)
            except Exception as error:
                log.exception("the file could not be read")
                words = f"{type(error).__name__}: {error}"
                self._not_reloaded(former, OnevipError(words), awaited)
            else:
                self._tell(Reloaded(configuration, former))
                self._director.maintain(self._maintenance.rows(configuration))
                self._converge()
                _settle(awaited, None)
                self._warn(configuration)

    def _not_reloaded(
        self, former: Configuration, error: OnevipError, awaited: list[asyncio.Future[None]]
    ) -> None:
        self._tell(NotReloaded(former, error))
        _settle(awaited, error)

    def _warn(self, configuration: Configuration) -> None:
        """Beside everything else: a file system that hangs may be looked at, and is no reason to
        hear of no other reload."""
        for former in self._warning:
            former.cancel()
        self._warning = [asyncio.get_running_loop().create_task(self._tell_warnings(configuration))]

    async def _tell_warnings(self, configuration: Configuration) -> None:
        for warning in (*configuration.warnings, *uncheckable(configuration, PROBES)):
            log.warning("%s", warning)
        try:
            table = self._engine.read()
            around = await in_thread(
                lambda: self._surroundings(table) + self._advice(configuration)
            )
            for warning in around:
                log.warning("%s", warning)
        except Exception:
            log.exception("the surroundings could not be looked at")


class _Closable(Protocol):
    async def close(self) -> None: ...


async def _close(part: _Closable) -> None:
    try:
        await part.close()
    except Exception:
        log.exception("%s could not be closed", part)


def _settle(awaited: Iterable[asyncio.Future[None]], error: OnevipError | None) -> None:
    for future in awaited:
        if future.done():  # who asked has gone
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(OnevipError(str(error)))
