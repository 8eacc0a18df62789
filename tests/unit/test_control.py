"""The control socket: who is answered, and what no peer can do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onevip.daemon import control
from onevip.daemon.ask import NoDaemon, ask
from onevip.daemon.control import Command, Control
from onevip.daemon.socket_files import SocketFiles, of_daemons, short_path
from onevip.model import OnevipError

STATUS = b'{"version": 1, "command": "status"}\n'
Story = Callable[[Path, "Asked"], Awaitable[None]]


class Asked:
    """Commands that note that they were asked."""

    def __init__(self) -> None:
        self.count = 0
        self.control: Control
        self.released = asyncio.Event()

    async def status(self) -> object:
        self.count += 1
        return {"asked": self.count}

    async def long(self) -> object:
        return "x" * 4_000_000

    async def broken(self) -> object:
        raise OnevipError("planted refusal")

    async def waiting(self) -> object:
        await self.released.wait()
        return "released"

    @property
    def commands(self) -> dict[str, Command]:
        return {
            "status": Command(self.status),
            "long": Command(self.long),
            "broken": Command(self.broken),
            "waiting": Command(self.waiting, waits=True),
        }


def living(directory: Path, story: Story) -> None:
    async def life() -> None:
        asked = Asked()
        one = asked.control = Control(directory, "lb-1", asked.commands)
        await one.start()
        try:
            async with asyncio.timeout(30):
                await story(directory / "control.sock", asked)
        finally:
            await one.close()

    asyncio.run(life())
    assert list(directory.iterdir()) == []


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with short_path(path) as short:
        return await asyncio.open_unix_connection(short, limit=8_000_000)


async def say(path: Path, said: bytes, *, end: bool = False) -> dict[str, object]:
    reader, writer = await connect(path)
    writer.write(said)
    if end:
        writer.write_eof()
    answer = json.loads(await reader.readline())
    writer.close()
    return answer


def test_a_question_a_line_is_answered_by_an_object_a_line(tmp_path):
    async def story(path: Path, asked: Asked) -> None:
        reader, writer = await connect(path)
        for number in (1, 2, 3):
            writer.write(STATUS)
            answer = json.loads(await reader.readline())
            assert answer == {"version": 1, "ok": True, "status": {"asked": number}}
        assert (await say(path, STATUS.rstrip(), end=True))["status"] == {"asked": 4}
        writer.close()

    living(tmp_path, story)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"\n", "one JSON object"),
        (b"status\n", "one JSON object"),
        (b"[]\n", "one JSON object"),
        (b"\xff\xfe\x00\n", "one JSON object"),
        (b'{"version": 1, "command": "status"\n', "one JSON object"),
        (b"[" * 4000 + b"\n", "one JSON object"),
        (b'{"command": "status"}\n', "version 'None' is not spoken: say 1"),
        (b'{"version": 2, "command": "status"}\n', "version '2' is not spoken: say 1"),
        (b'{"version": 1}\n', "there is no command '', but status"),
        (b'{"version": 1, "command": ["status"]}\n', "there is no command"),
        (b'{"version": 1, "command": "__class__"}\n', "there is no command"),
        (b'{"version": 1, "command": "broken"}\n', "planted refusal"),
        (b"x" * 4097 + b"\n", "at most 4096 bytes"),
        (b"x" * 1_000_000, "at most 4096 bytes"),
    ],
)
def test_garbage_is_answered_in_words(tmp_path, said, words):
    async def story(path: Path, asked: Asked) -> None:
        answer = await say(path, said)
        assert (answer["version"], answer["ok"]) == (1, False)
        assert words in answer["error"]
        assert asked.count == 0
        assert (await say(path, STATUS))["ok"]

    living(tmp_path, story)


def test_only_the_owner_may_open_it_and_the_kernel_says_who_asks(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def story(path: Path, asked: Asked) -> None:
        for name in (path, tmp_path / "lb-1.sock"):
            mode = name.stat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        await say(path, STATUS)
        await say(path, b"nonsense\n")

    living(tmp_path, story)
    me = f"control: pid {os.getpid()}, uid {os.getuid()}"
    assert f"{me}: status" in caplog.messages
    assert f"{me}: refused: a request is one JSON object in a line of UTF-8" in caplog.messages


def test_a_stranger_is_not_answered_even_if_he_gets_in(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(control.Peer, "of", classmethod(lambda cls, _: cls(77, 65534)))

    async def story(path: Path, asked: Asked) -> None:
        answer = await say(path, STATUS)
        assert answer["error"] == "only root and the daemon's own user are answered"
        assert asked.count == 0

    living(tmp_path, story)
    assert "pid 77, uid 65534: only root" in caplog.text


def test_peers_beyond_the_limit_are_told_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "MAX_PEERS", 3)

    async def story(path: Path, asked: Asked) -> None:
        silent = [await connect(path) for _ in range(3)]
        assert (await say(path, STATUS))["error"] == "too many conversations at once"
        reader, writer = silent[0]
        writer.write(STATUS)
        assert json.loads(await reader.readline())["ok"]
        for _, writer in silent:
            writer.close()
        while not (await say(path, STATUS))["ok"]:
            pass

    living(tmp_path, story)


def test_who_says_nothing_and_who_reads_nothing_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "PATIENCE_S", 0.05)

    async def story(path: Path, asked: Asked) -> None:
        reader, writer = await connect(path)
        assert await reader.read() == b""  # silent
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            slow.send(b'{"version": 1, "command": "long"}\n')
            await asyncio.to_thread(slow.recv, 1)  # the answer has begun
            received = 0
            while asked.control._peers:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionResetError):
                while chunk := slow.recv(65536):
                    received += len(chunk)
            assert 0 < received < 4_000_000
        assert (await say(path, STATUS))["ok"]
        writer.close()

    living(tmp_path, story)


def test_a_long_answer_arrives_whole(tmp_path):
    async def story(path: Path, asked: Asked) -> None:
        answer = await say(path, b'{"version": 1, "command": "long"}\n')
        assert len(answer["long"]) == 4_000_000

    living(tmp_path, story)


def test_a_command_that_waits_holds_up_no_other(tmp_path):
    async def story(path: Path, asked: Asked) -> None:
        waiting = asyncio.create_task(say(path, b'{"version": 1, "command": "waiting"}\n'))
        assert (await say(path, STATUS))["ok"]
        assert not waiting.done()
        asked.released.set()
        assert (await waiting)["waiting"] == "released"

    living(tmp_path, story)


def test_after_each_answer_the_next_one_waits_four_times_as_long(tmp_path):
    """So that questions without end leave the loop most of its time."""
    rests: list[float] = []
    spent = iter([0.0, 0.005, 1.0, 1.050, 2.0, 9.0])

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    async def life() -> None:
        asked = Asked()
        one = Control(
            tmp_path, "lb-1", asked.commands, sleep=sleep, clock=lambda: 100.0, spent=spent.__next__
        )
        await one.start()
        for _ in range(3):
            assert (await say(tmp_path / "control.sock", STATUS))["ok"]
        await one.close()
        assert rests == pytest.approx([-100, 0.02, 0.2])
        assert one._rested_at == 101.0  # never longer than a second

    asyncio.run(life())


# Names.


def test_two_daemons_each_have_a_socket_and_one_of_them_the_shared_one(tmp_path):
    async def life() -> None:
        one, two = Asked(), Asked()
        first, second = (
            Control(tmp_path, "a-1", one.commands),
            Control(tmp_path, "b-2", two.commands),
        )
        await first.start()
        await second.start()
        shared = tmp_path / "control.sock"
        assert [path.name for path in of_daemons(tmp_path)] == ["a-1.sock", "b-2.sock"]
        for path in (shared, *of_daemons(tmp_path)):
            assert (await say(path, STATUS))["ok"]
        assert (one.count, two.count) == (2, 1)
        await first.close()
        assert not shared.exists()
        second.hold()
        assert (await say(shared, STATUS))["ok"]
        assert two.count == 2
        await second.close()

    asyncio.run(life())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_daemon_left_is_replaced(tmp_path):
    killed = SocketFiles(tmp_path, "lb-1")
    bound = killed.bind()
    assert killed.hold()
    bound.close()
    os.close(killed._lock)  # as the kernel does
    with pytest.raises(NoDaemon):
        ask(tmp_path / "control.sock", "status")

    async def story(path: Path, asked: Asked) -> None:
        assert (await say(path, STATUS))["ok"]
        assert (await say(tmp_path / "lb-1.sock", STATUS))["ok"]

    living(tmp_path, story)


def test_a_directory_with_a_long_name_is_no_obstacle(tmp_path):
    directory = tmp_path / ("long" * 50) / ("longer" * 30)
    directory.mkdir(parents=True)

    async def story(path: Path, asked: Asked) -> None:
        assert len(str(path)) > 300
        assert (await say(path, STATUS))["ok"]
        answer = await asyncio.to_thread(ask, path, "status")
        assert answer == {"asked": 2}

    living(directory, story)


def test_a_daemon_without_a_place_for_its_socket_says_so_and_goes_on(tmp_path, caplog):
    async def life() -> None:
        nowhere = Control(tmp_path / "missing", "lb-1", Asked().commands)
        await nowhere.start()
        nowhere.hold()
        await nowhere.close()

    asyncio.run(life())
    assert "onevip status will not be answered" in caplog.text


# The other end.


def test_who_asks_is_told_what_is_wrong(tmp_path):
    async def story(path: Path, asked: Asked) -> None:
        with pytest.raises(OnevipError, match="planted refusal"):
            await asyncio.to_thread(ask, path, "broken")
        with pytest.raises(OnevipError, match=r"no answer within 0\.05 s"):
            await asyncio.to_thread(ask, path, "waiting", 0.05)

    living(tmp_path, story)
    with pytest.raises(NoDaemon):
        ask(tmp_path / "lb-1.sock", "status")


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"{}\n", b"[]\n", b'{"ok": true}\n'])
def test_an_answer_that_is_none_is_an_error(tmp_path, answer):
    async def life() -> None:
        async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        path = tmp_path / "x.sock"
        async with await asyncio.start_unix_server(strange, path):
            with pytest.raises(OnevipError, match="cannot be understood"):
                await asyncio.to_thread(ask, path, "status")

    asyncio.run(life())
