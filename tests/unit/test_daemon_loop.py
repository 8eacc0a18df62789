"""The loop: start, reload, autoreload, stop; on a fake engine, with timers of milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onevip.command import run as command
from onevip.command.environment import Environment
from onevip.config import load
from onevip.daemon import links, log, loop, run, watch_file
from onevip.daemon.ownership import AlreadyRunning
from onevip.daemon.watch_file import WatchFile
from onevip.engines.memory import MemoryEngine
from onevip.model import ConfigError, Configuration, OnevipError, Table, UsageError

pytestmark = pytest.mark.usefixtures("short_timers")

CF = """\
checkinterval=1
autoreload=no
virtual=10.20.0.100:80
    real=10.20.0.11:80 gate 2
    checktype=on
"""


@pytest.fixture
def short_timers(monkeypatch):
    monkeypatch.setattr(loop, "TICK_S", 0.01)
    monkeypatch.setattr(loop, "HANDS_S", 0.01)
    monkeypatch.setattr(loop, "RETRY_S", 0.01)
    monkeypatch.setattr(watch_file, "SETTLE_S", 0.01)


def load_with_short_interval(file: str) -> Configuration:
    return replace(load(file), check_interval_s=0.01)


class Telling(logging.Handler):
    """Log lines to wait for, so that no test has to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._news.set()

    async def said(self, part: str) -> str:
        """The first line that holds this, once it is there; then forgets what was before."""
        async with asyncio.timeout(10):
            while True:
                for index, line in enumerate(self.lines):
                    if part in line:
                        del self.lines[: index + 1]
                        return line
                self._news.clear()
                await self._news.wait()


Story = Callable[[Telling, MemoryEngine, Path], Awaitable[None]]


def living(
    tmp_path: Path,
    story: Story,
    text: str = CF,
    run_directory: Path | None = None,
    **options: object,
) -> list[str]:
    """Tell a story while a daemon runs, then stop it by SIGTERM; what it said last."""
    file = tmp_path / "lb.cf"
    file.write_text(text)

    async def life() -> list[str]:
        telling = Telling()
        logger = logging.getLogger("onevip")
        logger.addHandler(telling)
        logger.setLevel(logging.INFO)
        engine = MemoryEngine()
        directory = run_directory or tmp_path / "run"
        task = asyncio.create_task(run(str(file), engine, directory, **options))
        said = asyncio.create_task(telling.said("started on"))
        try:
            await asyncio.wait([task, said], return_when=asyncio.FIRST_COMPLETED)
            if said.done():
                await story(telling, engine, file)
                os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(task, 10) == 0
        finally:
            said.cancel()
            logger.removeHandler(telling)
            logger.setLevel(logging.NOTSET)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return telling.lines

    return asyncio.run(life())


def rows(engine: MemoryEngine) -> dict[str, dict[str, int]]:
    return {
        str(s.key): {str(real.key): real.weight for real in s.real_servers} for s in engine.table
    }


async def nothing_happens(*_: object) -> None:
    pass


def test_it_starts_and_stops(tmp_path):
    async def story(telling, engine, file):
        assert rows(engine) == {"tcp 10.20.0.100:80": {"10.20.0.11:80": 2}}

    lines = living(tmp_path, story)
    assert lines == ["stopping on SIGTERM", "virtual service tcp 10.20.0.100:80 deleted"]


def test_hup_reads_the_file_again_and_a_broken_one_changes_nothing(tmp_path):
    async def story(telling, engine, file):
        file.write_text(CF.replace("gate 2", "gate 7"))
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("weight 2 -> 7")
        file.write_text(CF.replace("checktype", "chektype"))
        os.kill(os.getpid(), signal.SIGHUP)
        line = await telling.said("the last good configuration stays in force")
        assert f"{file}:5: Unknown command" in line
        assert rows(engine) == {"tcp 10.20.0.100:80": {"10.20.0.11:80": 7}}
        file.unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        assert "cannot be read" in await telling.said("the last good configuration")
        file.write_text(CF)
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("weight 7 -> 2")

    living(tmp_path, story)


def test_a_file_that_was_emptied_by_accident_changes_nothing(tmp_path):
    """Truncated by an editor or a full disk; it would delete every service, and autoreload."""
    text = CF.replace("autoreload=no", "autoreload=yes")

    async def story(telling, engine, file):
        file.write_text("\n")
        line = await telling.said("the last good configuration stays in force")
        assert f"{file}: is empty" in line
        file.write_text("# nothing is served\nautoreload=yes\n")
        await telling.said("virtual service tcp 10.20.0.100:80 deleted")
        file.write_text("")
        await telling.said("reloaded")

    living(tmp_path, story, text, load=load_with_short_interval)


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path):
    async def story(telling, engine, file):
        file.unlink()
        os.mkfifo(file)
        assert "is no regular file" in await telling.said("the last good configuration")

    living(
        tmp_path,
        story,
        CF.replace("autoreload=no", "autoreload=yes"),
        load=load_with_short_interval,
    )


def test_autoreload_notices_a_new_content_and_tells_a_broken_one_once(tmp_path):
    text = CF.replace("autoreload=no", "autoreload=yes")

    async def story(telling, engine, file):
        file.write_text(text.replace("gate 2", "gate 7"))
        await telling.said("has changed on disk")
        await telling.said("weight 2 -> 7")
        file.write_text("nonsense")
        await telling.said("the last good configuration stays in force")
        file.write_text(text)
        await telling.said("weight 7 -> 2")
        assert telling.lines == []

    living(tmp_path, story, text, load=load_with_short_interval)


def test_without_autoreload_a_changed_file_is_only_told_of(tmp_path):
    ticks = asyncio.Semaphore(0)

    async def story(telling, engine, file):
        file.write_text("nonsense")
        assert (await telling.said("has changed on disk")).endswith("by SIGHUP or autoreload=yes")
        for _ in range(20):
            await ticks.acquire()
        assert telling.lines == []

    living(tmp_path, story, load=load_with_short_interval, on_tick=ticks.release)


def test_an_engine_is_adopted_first_and_looked_after_each_second(tmp_path, monkeypatch):
    calls = []

    def note(name: str, said: list[str]) -> Callable[[object], list[str]]:
        return lambda _: calls.append(name) or said

    monkeypatch.setattr(MemoryEngine, "adopt", note("adopt", ["programs replaced"]), raising=False)
    monkeypatch.setattr(MemoryEngine, "upkeep", note("upkeep", ["mended"]), raising=False)

    async def story(telling, engine, file):
        await telling.said("mended")
        assert "mended" not in telling.lines  # told once

    living(tmp_path, story)
    assert calls[:2] == ["adopt", "upkeep"]


def test_interfaces_are_followed_from_the_start(tmp_path, monkeypatch):
    followed = []
    monkeypatch.setattr(
        MemoryEngine, "follow_interfaces", lambda _: followed.append(1), raising=False
    )
    living(tmp_path, nothing_happens)
    assert followed == [1]


def test_a_broken_file_ends_the_start(tmp_path):
    with pytest.raises(ConfigError, match=r"lb\.cf:1: Unknown command nonsense"):
        living(tmp_path, nothing_happens, "nonsense")


def test_a_second_daemon_on_the_file_is_refused_and_the_first_lives_on(tmp_path):
    async def story(telling, engine, file):
        with pytest.raises(AlreadyRunning):
            await run(str(file), MemoryEngine(), tmp_path / "run")
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("reloaded")

    living(tmp_path, story)


def test_ticks_and_surroundings_may_fail(tmp_path):
    ticks = []

    def tick() -> None:
        ticks.append(1)
        raise OnevipError("planted tick")

    def surroundings(table: Table) -> list[str]:
        if ticks:
            raise ZeroDivisionError
        return ["the VIP 10.20.0.100 is on no interface"]

    async def story(telling, engine, file):
        await telling.said("planted tick")
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("surroundings could not be looked at")

    living(tmp_path, story, on_tick=tick, surroundings=surroundings)


def test_surroundings_that_hang_hold_up_no_reload(tmp_path):
    released = threading.Event()

    def surroundings(table: Table) -> list[str]:
        released.wait(10)
        return []

    async def story(telling, engine, file):
        try:
            for port in (81, 82):
                file.write_text(CF.replace("10.20.0.100:80", f"10.20.0.100:{port}"))
                os.kill(os.getpid(), signal.SIGHUP)
                await telling.said("reloaded")
            assert list(rows(engine)) == ["tcp 10.20.0.100:82"]
        finally:
            released.set()

    living(tmp_path, story, surroundings=surroundings)


def test_a_signal_while_names_are_looked_up_ends_the_start(tmp_path):
    has_ended = threading.Event()
    was_in_time: list[bool] = []
    looked_up = threading.Event()

    def hanging(file: str) -> Configuration:
        os.kill(os.getpid(), signal.SIGTERM)
        was_in_time.append(has_ended.wait(10))
        looked_up.set()
        return load(file)

    async def life() -> None:
        (tmp_path / "lb.cf").write_text(CF)
        engine = MemoryEngine()
        assert await run(str(tmp_path / "lb.cf"), engine, tmp_path / "run", load=hanging) == 0
        has_ended.set()
        assert engine.applied == []

    asyncio.run(life())
    assert looked_up.wait(10)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert was_in_time == [True]


def test_warnings_of_the_file_and_the_surroundings_are_told(tmp_path):
    told = []

    async def story(telling, engine, file):
        file.write_text(CF.replace("gate 2", "gate -w 2"))
        os.kill(os.getpid(), signal.SIGHUP)
        told.append(await telling.said("'-w' before the weight"))
        told.append(await telling.said("planted surroundings of 1 service"))

    living(
        tmp_path,
        story,
        surroundings=lambda table: [f"planted surroundings of {len(table)} service"],
    )
    assert told[0].startswith(f"{tmp_path}/lb.cf:4: ")


def test_an_engine_that_fails_is_tried_again_after_a_second(tmp_path):
    async def story(telling, engine, file):
        engine.refusal = OnevipError("planted")
        file.write_text(CF.replace("gate 2", "gate 7"))
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("the table is not as wanted")
        engine.refusal = None
        await telling.said("the table is as wanted again")
        assert rows(engine) == {"tcp 10.20.0.100:80": {"10.20.0.11:80": 7}}

    living(tmp_path, story)


def test_a_real_server_that_dies_loses_its_weight(tmp_path):
    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOKAY")
        writer.close()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (
        f"quiescent=yes\nfork=yes\nvirtual=10.20.0.100:80\n\tcheckinterval=1\n"
        f'\treal=127.0.0.1:{port} masq 2 "x","OKAY"\n'
    )

    async def story(telling, engine, file):
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        await telling.said("is up: status 200, body matches; weight 0 -> 2")
        server.close()
        await telling.said("is down: connection refused; weight 2 -> 0")

    living(tmp_path, story, text)


# Processes: what only the kernel can tell.

PROGRAM = textwrap.dedent("""
    import sys, onevip.command.environment as e, onevip.command.run as r
    from onevip.engines.memory import MemoryEngine
    class Engine(MemoryEngine):
        def apply(self, changes):
            changes = list(changes)
            if any(type(c).__name__ == "DeleteService" for c in changes):
                print("hanging", file=sys.stderr, flush=True)
                while True:
                    pass
            super().apply(changes)
    sys.exit(r.main([sys.argv[1]], e.Environment(engine=Engine, state_directory=sys.argv[2])))
""")


@contextlib.contextmanager
def process(
    tmp_path: Path, name: str = "lb.cf", text: str = CF
) -> Iterator[subprocess.Popen[bytes]]:
    file = tmp_path / name
    file.write_text(text)
    source = Path(command.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file), str(tmp_path)],
        bufsize=0,  # so that select sees every line
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(source)},
    ) as daemon:
        try:
            yield daemon
        finally:
            daemon.kill()


def wait_for(daemon: subprocess.Popen[bytes], part: bytes) -> bytes:
    assert daemon.stderr is not None
    while True:
        ready, _, _ = select.select([daemon.stderr], [], [], 10)
        line = daemon.stderr.readline() if ready else b""
        assert line, f"the daemon did not say {part!r}"
        if part in line:
            return line


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_stop_that_hangs(tmp_path, again):
    with process(tmp_path) as daemon:
        line = wait_for(daemon, b"started on")
        assert b" onevip[%d]: started on" % daemon.pid in line
        daemon.send_signal(signal.SIGTERM)
        wait_for(daemon, b"hanging")
        daemon.send_signal(again)
        assert daemon.wait(10) == -again


def test_a_killed_daemon_leaves_no_lock(tmp_path):
    for _ in range(2):
        with process(tmp_path) as daemon:
            wait_for(daemon, b"started on")


# The parts.


def test_log_lines_have_one_plain_format():
    stream = io.StringIO()
    with log.to(stream):
        logging.getLogger("onevip.daemon").info("real server %s", "is up")
        logging.getLogger("onevip.daemon").warning("mind this")
    first, second = stream.getvalue().splitlines()
    date, time, rest = first.split(" ", 2)
    assert (len(date), len(time)) == (10, 8)
    assert rest == f"onevip[{os.getpid()}]: real server is up"
    assert second.endswith(f"onevip[{os.getpid()}]: warning: mind this")


class Stuck(io.StringIO):
    """A stream whose first write hangs until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.freed = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.begun.set()
        assert self.freed.wait(10)
        return super().write(text)


def test_a_log_that_nobody_reads_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(log, "MAX_WAITING", 2)
    stream = Stuck()
    with log.to(stream):
        logging.getLogger("onevip").info("line 1")
        assert stream.begun.wait(10)
        for number in (2, 3, 4, 5):
            logging.getLogger("onevip").info("line %d", number)
        stream.freed.set()
    said = [line.partition("]: ")[2] for line in stream.getvalue().splitlines()]
    lost = "warning: 2 log lines were lost: they could not be written"
    assert said == ["line 1", lost, "line 2", "line 3"]


def test_a_log_that_nobody_ever_reads_does_not_keep_the_daemon_from_ending(monkeypatch):
    monkeypatch.setattr(log, "PATIENCE_S", 0.01)
    stream = Stuck()
    with log.to(stream):
        logging.getLogger("onevip").info("line 1")
    stream.freed.set()


class Full(io.StringIO):
    """A stream whose disk is full, for so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self._writes = writes

    def write(self, text: str) -> int:
        self._writes -= 1
        if self._writes >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_log_that_cannot_be_written_ends_nothing_and_says_so_later():
    stream = Full(writes=2)
    with log.to(stream):
        for number in (1, 2, 3):
            logging.getLogger("onevip").info("line %d", number)
    said = [line.partition("]: ")[2] for line in stream.getvalue().splitlines()]
    assert said == ["line 3", "warning: 2 log lines were lost: they could not be written"]


def test_a_daemon_without_stderr_logs_nowhere():
    with log.to(None):
        logging.getLogger("onevip").info("line 1")


def test_a_touched_file_has_not_changed_and_a_growing_one_is_waited_for(tmp_path):
    file = tmp_path / "lb.cf"
    file.write_text("one")
    writes = ["two", "two three", "two three"]

    async def sleep(seconds: float) -> None:
        if writes:
            file.write_text(writes.pop(0))
            os.utime(file, ns=(0, len(writes) + 100))

    async def story() -> None:
        watch = WatchFile(str(file), sleep)
        assert not await watch.has_changed()
        os.utime(file, ns=(0, 1))
        writes.clear()
        assert not await watch.has_changed()
        os.utime(file, ns=(0, 2))
        writes.extend(["two", "two three"])
        assert await watch.has_changed()
        assert writes == []
        assert not await watch.has_changed()
        file.unlink()
        assert await watch.has_changed()
        assert not await watch.has_changed()

    asyncio.run(story())


def test_a_burst_of_link_messages_is_one_call(monkeypatch):
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    here.setblocking(False)

    class Netlink:
        """Stands for the netlink socket: a datagram socket that the test can write to."""

        def __init__(self, *_: object) -> None:
            self.fileno, self.recv, self.close = here.fileno, here.recv, here.close

        def bind(self, address: tuple[int, int]) -> None:
            assert address == (0, links.RTMGRP_LINK)

    async def story() -> None:
        monkeypatch.setattr(links.socket, "socket", Netlink)
        calls = []
        called = asyncio.Event()

        def changed() -> None:
            calls.append(1)
            called.set()

        watch = links.Links(changed, debounce_s=0.05)
        watch.start()
        for _ in range(5):
            there.send(b"a link")
            await asyncio.sleep(0)  # each is read by itself
            await asyncio.sleep(0)
        await asyncio.wait_for(called.wait(), 10)
        assert calls == [1]
        called.clear()
        there.send(b"another")
        await asyncio.wait_for(called.wait(), 10)
        assert calls == [1, 1]
        watch.stop()

    asyncio.run(story())
    there.close()


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["-x"], ["--"]])
def test_run_takes_one_file(argv):
    with pytest.raises(UsageError):
        command.main(argv, Environment(engine=MemoryEngine))
