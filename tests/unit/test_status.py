"""`onevip status` and what it asks: a whole daemon on a fake engine, seen through its socket."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip import namespace
from onevip.command import status as command
from onevip.command.environment import Environment
from onevip.config import load
from onevip.daemon.ask import ask
from onevip.daemon.status import uncheckable
from onevip.engines.memory import MemoryEngine
from onevip.health.probes import PROBES
from onevip.model import (
    CheckType,
    Configuration,
    EditRealServer,
    OnevipError,
    Protocol,
    RealServer,
    Secret,
    ServiceKey,
    UsageError,
)
from unit.test_daemon_loop import CF, Story, Telling, living, process, short_timers, wait_for

__all__ = ["short_timers"]
pytestmark = pytest.mark.usefixtures("short_timers")

WEB = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 80)
ONE = RealServer(IPv4Address("10.20.0.11"), 80)
MARKER = "hunter2-must-not-be-seen"


class Daemons:
    """Where daemons run, and what `onevip status` prints there."""

    def __init__(self, directory: Path, state: Path | None = None) -> None:
        self.directory = directory
        self.state = state or directory / "run"
        self.run = self.state / namespace.identity()
        self.engine = MemoryEngine()

    def status(self, *argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        environment = Environment(
            stdout=stdout,
            stderr=stderr,
            engine=lambda: self.engine,
            state_directory=str(self.state),
        )
        status = command.main(list(argv), environment)
        return status, stdout.getvalue(), stderr.getvalue()

    async def shown(self, *argv: str) -> str:
        status, printed, errors = await asyncio.to_thread(self.status, *argv)
        assert (status, errors) == (0, "")
        return printed

    async def report(self) -> dict[str, object]:
        (report,) = json.loads(await self.shown("--json"))
        return report

    def living(self, story: Story, text: str = CF, **options: object) -> list[str]:
        async def told(telling: Telling, engine: MemoryEngine, file: Path) -> None:
            self.engine = engine
            await story(telling, engine, file)

        return living(self.directory, told, text, run_directory=self.run, **options)


@pytest.fixture
def daemons(tmp_path):
    return Daemons(tmp_path)


def test_verdicts_with_reasons_and_what_is_by_hand(daemons):
    async def story(telling, engine, file):
        lines = (await daemons.shown()).splitlines()
        assert lines[0].startswith(f"{file}: running, pid {os.getpid()}, up 0 s, onevip ")
        assert lines[1] == "tcp 10.20.0.100:80: 1 of 1 up"
        assert lines[2] == "  10.20.0.11:80  up for 0 s, weight 2: on: checktype is on"
        engine.apply([EditRealServer(WEB, ONE)])
        text = "weight 1 set by hand, 2 configured"
        await telling.said(f"tcp 10.20.0.100:80: 10.20.0.11:80: {text}")
        assert not [line for line in telling.lines if text in line]  # said once
        assert f"  10.20.0.11:80  up for 0 s, {text}: on:" in await daemons.shown(str(file))
        (service,) = (await daemons.report())["services"]
        (server,) = service["servers"]
        assert (server["by_hand"], server["difference"]) == ({"weight": 1}, text)

    daemons.living(story)


def test_a_server_that_is_down_and_answers_again_says_how_far_it_has_risen(daemons):
    async def story(telling, engine, file):
        report = await daemons.report()
        (server,) = report["services"][0]["servers"]
        assert (server["successes"], server["rise_count"]) == (0, 3)
        for verdict, successes, is_said in (
            ("down", 2, True),
            ("down", 9, False),
            ("up", 2, False),
        ):
            server |= {"verdict": verdict, "successes": successes}
            words = " ".join(command.shown(report, {}, 0.0))
            assert (f", {successes} of 3 successes: on:" in words) is is_said

    daemons.living(story, f"risecount=3\n{CF}")


def test_a_broken_file_is_kept_and_shown_until_a_good_one(daemons):
    async def story(telling, engine, file):
        file.write_text(CF.replace("checktype", "chektype"))
        path = daemons.run / "control.sock"
        with pytest.raises(OnevipError, match=r"lb\.cf:5: Unknown command"):
            await asyncio.to_thread(ask, path, "reload")
        report = await daemons.report()
        assert "lb.cf:5: Unknown command" in report["reload_error"]["error"]
        shown = await daemons.shown()
        assert "  not reloaded 0 s ago: " in shown
        assert "the last good configuration is in force" in shown
        file.write_text(CF.replace("gate 2", "gate 5"))
        assert await asyncio.to_thread(ask, path, "reload") == "the file is in force"
        assert engine.table.get(WEB).real_servers[0].weight == 5
        report = await daemons.report()
        assert report["reload_error"] is None
        assert report["reloaded"] >= report["started"]
        assert "  reloaded 0 s ago" in await daemons.shown()

    daemons.living(story)


def test_a_crash_while_reading_the_file_is_shown_too(daemons):
    crash = []

    def load_or_crash(file: str) -> Configuration:
        if crash:
            raise ZeroDivisionError("planted")
        return load(file)

    async def story(telling, engine, file):
        crash.append(1)
        with pytest.raises(OnevipError, match="ZeroDivisionError: planted"):
            await asyncio.to_thread(ask, daemons.run / "control.sock", "reload")
        assert "ZeroDivisionError" in (await daemons.report())["reload_error"]["error"]

    daemons.living(story, load=load_or_crash)


def test_servers_that_no_probe_can_check_are_told_at_the_start_and_shown(daemons):
    def load_strange(file: str) -> Configuration:
        plain = load(file)
        (service,) = plain.services
        (server,) = service.real_servers
        check = replace(server.check, type=CheckType.NEGOTIATE, service="gopher")
        service = replace(service, real_servers=(replace(server, check=check),))
        return replace(plain, services=(service,))

    words = (
        "real server 10.20.0.11:80 of tcp 10.20.0.100:80 cannot be checked by this version "
        "(gopher) and counts as down"
    )

    async def story(telling, engine, file):
        await telling.said(words)
        assert (await daemons.report())["uncheckable"] == [words]
        assert f"  warning: {words}" in await daemons.shown()
        assert engine.table.get(WEB).real_servers == ()

    daemons.living(story, load=load_strange)


def test_uncheckable_looks_at_every_probe_of_a_check(tmp_path):
    (tmp_path / "lb.cf").write_text(CF)
    plain = load(str(tmp_path / "lb.cf"))
    assert uncheckable(plain, PROBES) == []
    assert uncheckable(plain, []) == []  # checktype=on needs none


def test_passwords_are_shown_nowhere(daemons):
    def load_secret(file: str) -> Configuration:
        plain = load(file)
        (service,) = plain.services
        (server,) = service.real_servers
        check = replace(server.check, passwd=Secret(MARKER), secret=Secret(MARKER), login="me")
        service = replace(service, real_servers=(replace(server, check=check),))
        return replace(plain, services=(service,))

    async def story(telling, engine, file):
        assert MARKER not in await daemons.shown()
        assert MARKER not in await daemons.shown("--json")

    lines = daemons.living(story, load=load_secret)
    assert MARKER not in "\n".join(lines)
    kept = [path for path in daemons.directory.rglob("*") if path.is_file()]
    assert MARKER not in "".join(path.read_text() for path in kept)


def test_a_file_in_the_maintenance_directory_takes_a_server_out(daemons, tmp_path):
    directory = tmp_path / "maintenance"
    directory.mkdir()

    def load_with_directory(file: str) -> Configuration:
        return replace(load(file), maintenance_dir=str(directory))

    async def story(telling, engine, file):
        (directory / "10.20.0.11").touch()
        await telling.said("is down: in maintenance: file 10.20.0.11; removed, weight was 2")
        assert "in maintenance: file 10.20.0.11" in await daemons.shown()
        (directory / "10.20.0.11").unlink()
        await telling.said("is up: checktype is on; added with weight 2")

    daemons.living(story, load=load_with_directory)


def test_a_server_in_maintenance_at_the_start_gets_no_weight(daemons, tmp_path):
    directory = tmp_path / "maintenance"
    directory.mkdir()
    (directory / "10.20.0.11:80").touch()

    async def story(telling, engine, file):
        await telling.said("is down: in maintenance: file 10.20.0.11:80")

    daemons.living(story, load=lambda f: replace(load(f), maintenance_dir=str(directory)))


def test_advice_is_told_after_the_start_and_a_reload(daemons):
    def advice(configuration: Configuration) -> list[str]:
        return [f"planted advice on {len(configuration.services)} service"]

    async def story(telling, engine, file):
        await telling.said("planted advice on 1 service")
        os.kill(os.getpid(), signal.SIGHUP)
        await telling.said("planted advice on 1 service")

    daemons.living(story, advice=advice)


def test_who_waits_for_the_start_is_told_once_the_table_is_there(daemons):
    seen = []

    async def story(telling, engine, file):
        pass

    daemons.living(story, ready=lambda: seen.append(sorted(p.name for p in daemons.run.iterdir())))
    (names,) = seen
    assert "control.sock" in names


def test_two_daemons_are_both_shown_and_each_by_its_file(tmp_path):
    daemons = Daemons(tmp_path, tmp_path)
    text = CF.replace(":80\n", ":81\n", 1)
    with process(tmp_path) as one, process(tmp_path, "other.cf", text) as other:
        for daemon in (one, other):
            wait_for(daemon, b"started on")
        shown = daemons.status()[1]
        assert shown.count("running, pid") == 2
        assert "tcp 10.20.0.100:81" in daemons.status(str(tmp_path / "other.cf"))[1]
        assert "10.20.0.100:81" not in daemons.status(str(tmp_path / "lb.cf"))[1]
        other.kill()
        other.wait()
        assert daemons.status()[1].count("running, pid") == 1
        assert daemons.status(str(tmp_path / "other.cf"))[0] == 3


def test_without_a_daemon_it_says_so(daemons):
    assert daemons.status() == (3, "", "onevip: no daemon runs here\n")
    assert daemons.status("x.cf") == (3, "", "onevip: the daemon of x.cf does not run\n")
    assert daemons.status("--json") == (3, "[]\n", "onevip: no daemon runs here\n")
    assert daemons.status("--help")[0] == 0


def test_who_may_not_look_is_not_told_that_nobody_is_there(daemons, monkeypatch):
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionError):
        daemons.status()


@pytest.mark.parametrize("argv", [["a", "b"], ["-x"], ["--jsn"]])
def test_arguments_that_make_no_sense(daemons, argv):
    with pytest.raises(UsageError):
        daemons.status(*argv)


def test_a_daemon_that_does_not_answer_is_a_problem(daemons, monkeypatch):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"nonsense\n")
        writer.close()

    async def life() -> tuple[int, str, str]:
        daemons.run.mkdir(parents=True)
        async with await asyncio.start_unix_server(silent, daemons.run / "x-1.sock"):
            return await asyncio.to_thread(daemons.status)

    status, printed, errors = asyncio.run(life())
    assert (status, printed) == (1, "")
    assert "x-1.sock: the daemon's answer cannot be understood" in errors


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (4.4, "4 s"), (119, "119 s"), (120, "2 min"), (7320, "2 h 2 min"), (1e6, "11 d")],
)
def test_spans_say_as_much_as_one_wants_to_know(seconds, words):
    assert command._span(seconds) == words
