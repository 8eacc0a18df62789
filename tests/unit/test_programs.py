"""fallbackcommand, callback and execute: what is run, when, and what of it is left out."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from happenings import MARK, WEB, configuration, configured, fallback_turned
from manual_clock import settle
from onevip import processes
from onevip.daemon.events import FileChanged, Listener, Reloaded, Started, Stopping
from onevip.daemon.programs import Callback, FallbackCommands, Instances, turns
from onevip.daemon.programs.instances import unquoted
from onevip.daemon.programs.turns import Turns
from onevip.model import Protocol, ServiceKey
from onevip.processes import Ended

GOOD = Ended(0, None, b"", False)
BAD = Ended(1, None, b"no such\x1b thing\nat all\n", False)


class Runner:
    """Records what would be run. One that is held ends when it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str] | None] = []
        self.results: list[Ended | OSError] = []
        self.holds = asyncio.Event()
        self.holds.set()

    async def run(self, argv, *, limit_s, env=None) -> Ended:
        self.calls.append(list(argv))
        self.environments.append(env)
        await self.holds.wait()
        result = self.results.pop(0) if self.results else GOOD
        if isinstance(result, OSError):
            raise result
        return result

    @property
    def verbs(self) -> list[str]:
        return [argv[-1].split()[-3] for argv in self.calls]


Story = Callable[[Listener, Runner], Awaitable[None]]


def play(kind: Callable[[Turns], Listener], story: Story) -> Runner:
    async def life() -> Runner:
        runner = Runner()
        listener = kind(Turns(runner.run))
        await story(listener, runner)
        await listener.close()
        return runner

    return asyncio.run(life())


def tells(*events: object) -> Story:
    async def story(listener: Listener, runner: Runner) -> None:
        for event in events:
            listener.heard(event)
            await settle()

    return story


COMMAND = {"fallback_command": "/bin/page -v 'the boss'"}
V6 = ServiceKey(Protocol.UDP, ip_address("2001:db8::1"), 53)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (WEB, "192.0.2.1:80 tcp"),
        (V6, "[2001:db8::1]:53 udp"),
        (MARK, "7 fwm"),
        (ServiceKey.of_mark(7, 6), "7 fwm6"),
    ],
)
def test_a_fallbackcommand_is_a_shells_line(key, place, caplog):
    caplog.set_level(logging.INFO, "onevip")
    events = [fallback_turned(on, key=key, **COMMAND) for on in (True, False)]
    runner = play(FallbackCommands, tells(*events))
    assert runner.calls == [
        ["/bin/sh", "-c", f"/bin/page -v 'the boss' start {place}"],
        ["/bin/sh", "-c", f"/bin/page -v 'the boss' stop {place}"],
    ]
    assert caplog.messages[0].startswith(f"fallbackcommand start of {configured(key).id} exited")


def test_without_one_nothing_is_run():
    assert play(FallbackCommands, tells(fallback_turned(True))).calls == []


def test_it_is_told_each_state_once():
    on, off = (fallback_turned(state, **COMMAND) for state in (True, False))
    assert play(FallbackCommands, tells(on, on, off, off, on)).verbs == ["start", "stop", "start"]


@pytest.mark.parametrize(
    ("meanwhile", "verbs"),
    [
        ([False], ["start", "stop"]),
        ([False, True], ["start"]),
        ([False, True, False], ["start", "stop"]),
    ],
)
def test_while_it_runs_the_newest_state_wins(meanwhile, verbs):
    async def story(listener, runner):
        runner.holds.clear()
        listener.heard(fallback_turned(True, **COMMAND))
        await settle()
        for on in meanwhile:
            listener.heard(fallback_turned(on, **COMMAND))
            await settle()
        assert runner.verbs == ["start"]
        runner.holds.set()
        await settle()
        assert runner.verbs == verbs

    play(FallbackCommands, story)


def test_services_do_not_wait_for_each_other():
    async def story(listener, runner):
        runner.holds.clear()
        listener.heard(fallback_turned(True, **COMMAND))
        listener.heard(fallback_turned(True, key=MARK, **COMMAND))
        await settle()
        assert len(runner.calls) == 2
        runner.holds.set()

    play(FallbackCommands, story)


def test_of_a_thousand_services_only_some_programs_run_at_once():
    async def story(listener, runner):
        runner.holds.clear()
        marks = [ServiceKey.of_mark(number) for number in range(1, 1001)]
        for key in marks:
            listener.heard(fallback_turned(True, key=key, **COMMAND))
        await settle()
        assert len(runner.calls) == turns.AT_ONCE
        listener.heard(fallback_turned(False, key=marks[-1], **COMMAND))
        runner.holds.set()
        while len(runner.calls) < len(marks):
            await settle()
        assert runner.calls[-1][-1].endswith("stop 1000 fwm")

    play(FallbackCommands, story)


def test_a_service_that_comes_back_by_a_reload_is_told_anew():
    conf, empty = configuration(), configuration(configured(MARK))
    events = [
        fallback_turned(True, **COMMAND),
        Reloaded(empty, conf),
        Reloaded(conf, empty),
        fallback_turned(True, **COMMAND),
    ]
    assert play(FallbackCommands, tells(*events)).verbs == ["start", "start"]


def test_it_is_not_called_at_the_end():
    events = [fallback_turned(False, **COMMAND), Stopping(configuration(), "TERM")]
    assert play(FallbackCommands, tells(*events)).verbs == ["stop"]


def test_a_failure_is_logged_and_not_repeated(caplog):
    async def story(listener, runner):
        runner.results = [BAD, FileNotFoundError(2, "no"), GOOD]
        for on in (True, False, True):
            listener.heard(fallback_turned(on, **COMMAND))
            await settle()
        assert len(runner.calls) == 3

    play(FallbackCommands, story)
    name = configured().id
    assert caplog.messages == [
        f"fallbackcommand start of {name} exited with status 1: no such? thing / at all",
        f"fallbackcommand stop of {name} cannot be run: no such file or directory",
    ]


def test_the_end_waits_for_it_some_seconds_and_then_kills_it(caplog, monkeypatch):
    monkeypatch.setattr(turns, "CLOSE_S", 0.01)

    async def story(listener, runner):
        runner.holds.clear()
        listener.heard(fallback_turned(True, **COMMAND))
        await settle()

    play(FallbackCommands, story)
    killed = "was killed: it had not ended when the daemon did"
    assert caplog.messages == [f"fallbackcommand start of {configured().id} {killed}"]


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_real_script_gets_its_arguments_and_no_secret(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SECRET_TOKEN", "planted")
    program = script(tmp_path / "fb", 'echo "$# $*" >> "${0%/*}/calls"; env; echo done')

    async def story(listener, runner):
        for on in (True, False):
            listener.heard(fallback_turned(on, fallback_command=str(program)))

    caplog.set_level(logging.INFO, "onevip")
    play(lambda _: FallbackCommands(Turns(processes.run)), story)
    assert (tmp_path / "calls").read_text() == "3 stop 192.0.2.1:80 tcp\n"  # the newest
    assert "planted" not in caplog.text
    assert caplog.messages[0].startswith(
        "fallbackcommand stop of tcp:192.0.2.1:80 exited with status 0: "
    )


def test_one_that_hangs_is_ended_and_the_next_state_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(turns, "LIMIT_S", 0.5)
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    text = 'trap "" TERM; echo "$1" >> "${0%/*}/calls"; test "$1" = stop || sleep 100'
    program = script(tmp_path / "fb", text)

    async def story(listener, runner):
        listener.heard(fallback_turned(True, fallback_command=str(program)))
        await settle()
        listener.heard(fallback_turned(False, fallback_command=str(program)))

    play(lambda _: FallbackCommands(Turns(processes.run)), story)
    assert (tmp_path / "calls").read_text() == "start\nstop\n"
    name = "fallbackcommand start of tcp:192.0.2.1:80"
    assert caplog.messages == [f"{name} took too long and was ended"]


def test_the_callback_gets_the_file(tmp_path):
    callback = script(tmp_path / "call back", "exit 0")
    conf = configuration(callback=str(callback))
    runner = play(Callback, tells(FileChanged(conf)))
    assert runner.calls == [[str(callback), "/etc/ha.d/ldirectord.cf"]]


def test_each_change_calls_back_once_whoever_finds_it(tmp_path):
    old = configuration(callback=str(script(tmp_path / "callback", "exit 0")))
    new = replace(old, autoreload=True)
    by_signal = play(Callback, tells(Reloaded(new, old)))
    assert len(by_signal.calls) == 1
    by_watch = play(Callback, tells(FileChanged(old), Reloaded(new, old), Reloaded(new, new)))
    assert len(by_watch.calls) == 1
    both = play(Callback, tells(FileChanged(old), Reloaded(new, old), Reloaded(old, new)))
    assert len(both.calls) == 2


def test_callbacks_do_not_pile_up(tmp_path):
    conf = configuration(callback=str(script(tmp_path / "callback", "exit 0")))

    async def story(listener, runner):
        runner.holds.clear()
        for _ in range(5):
            listener.heard(FileChanged(conf))
            await settle()
        runner.holds.set()
        await settle()
        assert len(runner.calls) == 2

    play(Callback, story)


@pytest.mark.parametrize("mode", [0o644, None])
def test_a_callback_that_cannot_be_run_is_left_alone(tmp_path, mode):
    callback = tmp_path / "callback"
    if mode:
        callback.write_text("")
        callback.chmod(mode)
    conf = configuration(callback=str(callback))
    assert play(Callback, tells(FileChanged(conf))).calls == []


def test_without_callback_nothing_is_called():
    conf = configuration()
    assert play(Callback, tells(FileChanged(conf))).calls == []


def own(runner: Runner) -> list[list[str]]:
    """The calls without what they have in common, which is looked at here."""
    for argv in runner.calls:
        assert argv[:4] == [sys.executable, "-m", "onevip", "ldirectord"]
    return [argv[4:] for argv in runner.calls]


def test_instances_start_and_stop_with_this_one(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "planted")
    monkeypatch.setenv("PYTHONPATH", "src")
    conf = configuration(children=("mail", '"web farm.cf"'))
    runner = play(Instances, tells(Started(conf), Stopping(conf, "TERM")))
    assert own(runner) == [
        ["mail", "start"],
        ["web farm.cf", "start"],
        ["mail", "stop"],
        ["web farm.cf", "stop"],
    ]
    assert all("SECRET_TOKEN" not in env for env in runner.environments)
    assert all(env["PYTHONPATH"] == "src" for env in runner.environments)


def test_a_reload_stops_reloads_and_starts():
    conf = configuration(children=("a", "b"))
    runner = play(Instances, tells(Reloaded(replace(conf, children=("b", "c")), conf)))
    assert own(runner) == [["a", "stop"], ["b", "reload"], ["c", "start"]]


def test_an_instance_that_cannot_be_reloaded_is_started():
    conf = configuration(children=("a",))

    async def story(listener, runner):
        runner.results = [BAD]
        listener.heard(Reloaded(conf, conf))
        await settle()

    assert own(play(Instances, story)) == [["a", "reload"], ["a", "start"]]


@pytest.mark.parametrize("name", ["$(reboot)", "a;b", "-h", '"a', "'a b'"])
def test_a_name_is_one_argument_and_no_shell_sees_it(name):
    runner = play(Instances, tells(Started(configuration(children=(name,)))))
    assert own(runner) == [[unquoted(name), "start"]]
