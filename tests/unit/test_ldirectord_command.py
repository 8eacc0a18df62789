"""`onevip ldirectord`: each command in each state, with a daemon in the background.

The daemon's table is in its own memory; its log tells what it did.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from onevip.command.environment import Environment
from onevip.command.ldirectord import main, running
from onevip.command.ldirectord.running import Place
from onevip.command.ldirectord.usage import PRODUCT, USAGE, VERSION
from onevip.daemon import Ownership
from onevip.engines.memory import MemoryEngine
from onevip.model import Change, DeleteService, OnevipError
from onevip.namespace import identity

CF = """\
logfile="{log}"
virtual=192.0.2.1:80
    real=198.51.100.7:80 gate 2
    checktype=on
"""


@dataclass
class Machine:
    """Where www.cf lies and its daemon runs; `run` is one command line on it."""

    root: Path
    engine: Callable[[], MemoryEngine] = MemoryEngine
    stdout: str = field(default="", init=False)
    stderr: str = field(default="", init=False)

    def __post_init__(self) -> None:
        for name in ("ha.d", "pids"):
            (self.root / name).mkdir()
        self.log, self.file = self.root / "log", self.root / "ha.d/www.cf"
        self.pid_file = self.root / "pids/ldirectord.www.cf.pid"
        self.file.write_text(CF.format(log=self.log))
        self.place = Place("www.cf", str(self.file), self.pid_file, self.root / "run" / identity())

    def run(self, line: str) -> int:
        stdout, stderr = io.StringIO(), io.StringIO()
        environment = Environment(
            stdout=stdout,
            stderr=stderr,
            engine=self.engine,
            state_directory=str(self.root / "run"),
            pid_directory=str(self.pid_file.parent),
            log_file=str(self.log),
            configuration_directories=(str(self.file.parent),),
        )
        status = main(line.split(), environment)
        self.stdout, self.stderr = stdout.getvalue(), stderr.getvalue()
        return status

    def said(self) -> list[str]:
        """What the log says, without dates and processes; forgets it.

        Without what is wrong around the table: a thread looks, and says so at any time.
        """
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        said = [line.partition("] ")[2] for line in lines]
        return [line for line in said if not line.startswith("warning: ")]

    def end(self) -> None:
        if found := self.place.running():
            os.kill(found.pid, signal.SIGKILL)
        self.wait(lambda: not self.place.running())

    def wait_for(self, words: str) -> None:
        """In the log: a thread of the daemon writes it."""
        self.wait(lambda: self.log.exists() and words in self.log.read_text())

    def wait(self, seen: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not seen():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/sbin/ldirectord"])
    machine = Machine(tmp_path)
    yield machine
    machine.end()


@pytest.fixture
def director(machine):
    """A machine on which the daemon runs."""
    assert machine.run("www.cf start") == 0
    machine.wait_for("(Weight set to 2)")
    machine.said()
    return machine


def invoked(command: str) -> str:
    return f"Invoking ldirectord invoked as: /usr/sbin/ldirectord www.cf {command} "


def test_start_returns_when_the_file_is_in_force(machine):
    assert machine.run("www.cf start") == 0
    assert (machine.stdout, machine.stderr) == ("", "")
    pid = int(machine.pid_file.read_text())
    machine.wait_for("(Weight set to 2)")
    assert machine.said()[:4] == [
        invoked("start"),
        f"Starting {PRODUCT} as daemon",
        "Added virtual server: 192.0.2.1:80",
        "Added real server: 198.51.100.7:80 (192.0.2.1:80) (Weight set to 2)",
    ]
    assert machine.place.running() == running.Daemon(pid, is_ours=True)


def test_a_file_named_from_the_directory_one_is_in(machine, monkeypatch):
    """The daemon is in another one, and reads it again."""
    file = machine.file.rename(machine.root / "here.cf")
    monkeypatch.chdir(machine.root)
    machine.place = replace(machine.place, file=str(file))
    assert machine.run("here.cf start") == 0
    machine.wait_for("(Weight set to 2)")
    machine.said()
    file.write_text(file.read_text().replace("gate 2", "gate 7"))
    assert machine.run("./here.cf reload") == 0
    machine.wait_for("(Weight set to 7)")
    assert machine.run("here.cf stop") == 0


def test_the_daemon_is_free_of_who_started_it(director):
    pid = int(director.pid_file.read_text())
    process = Path(f"/proc/{pid}")
    assert (process / "cwd").readlink() == Path("/")
    assert [(process / f"fd/{n}").readlink() for n in (0, 1, 2)] == [Path("/dev/null")] * 3
    parent, _, session, terminal = (process / "stat").read_text().rpartition(")")[2].split()[1:5]
    assert int(parent) != os.getpid()
    assert int(session) not in (pid, os.getsid(0))
    assert terminal == "0"


def test_start_does_nothing_when_the_daemon_runs(director):
    before = director.pid_file.read_text()
    assert director.run("www.cf start") == 0
    assert director.said() == [invoked("start")]
    assert director.pid_file.read_text() == before


def test_stop_does_not_wait(director):
    assert director.run("www.cf stop") == 0
    director.wait(lambda: not director.place.running())
    assert not director.pid_file.exists()
    assert director.said() == [
        invoked("stop"),
        "Purged real server (stop): 198.51.100.7:80 (192.0.2.1:80)",
        "Purged virtual server (stop): 192.0.2.1:80",
        "Linux Director Daemon terminated on signal: TERM",
    ]


class SlowToDelete(MemoryEngine):
    """Its daemon takes its time to end."""

    def apply(self, changes: list[Change]) -> None:
        if any(isinstance(change, DeleteService) for change in changes):
            time.sleep(0.5)
        super().apply(changes)


def test_a_start_after_a_stop_waits_for_the_end(machine):
    """Debian's ldirectord does nothing then, and nobody runs."""
    machine.engine = SlowToDelete
    assert machine.run("www.cf start") == 0
    before = machine.pid_file.read_text()
    assert machine.run("www.cf stop") == 0
    assert machine.run("www.cf start") == 0
    assert machine.run("www.cf status") == 0
    assert machine.pid_file.read_text() != before


def test_a_second_stop_does_not_kill(machine):
    machine.engine = SlowToDelete
    assert machine.run("www.cf start") == 0
    assert machine.run("www.cf stop") == 0
    assert machine.run("www.cf stop") == 0
    machine.wait(lambda: not machine.place.running())
    machine.wait_for("Linux Director Daemon terminated on signal: TERM")


@pytest.mark.parametrize("command", ["restart", "try-restart"])
def test_restart(director, command):
    before = director.pid_file.read_text()
    assert director.run(f"www.cf {command}") == 0
    assert director.pid_file.read_text() != before
    said = director.said()
    ended = said.index("Linux Director Daemon terminated on signal: TERM")
    assert said[ended + 1] == f"Starting {PRODUCT} as daemon"


@pytest.mark.parametrize("command", ["reload", "force-reload"])
def test_reload(director, command):
    director.file.write_text(director.file.read_text().replace("gate 2", "gate 7"))
    assert director.run(f"www.cf {command}") == 0
    director.wait_for("(Weight set to 7)")
    assert director.said()[:3] == [
        invoked(command),
        "Reloading Linux Director Daemon config on signal",
        "Restored real server: 198.51.100.7:80 (192.0.2.1:80) (Weight set to 7)",
    ]


def test_the_log_goes_where_a_new_configuration_says(director):
    other = director.root / "other"
    text = director.file.read_text().replace(str(director.log), str(other))
    director.file.write_text(text.replace("gate 2", "gate 7"))
    assert director.run("www.cf reload") == 0
    director.wait(lambda: other.exists() and "(Weight set to 7)" in other.read_text())
    assert director.said() == ["Reloading Linux Director Daemon config on signal"]


def test_a_broken_file_on_reload_changes_nothing(director):
    director.file.write_text(CF.format(log=director.log).replace("=on", "=never"))
    os.kill(int(director.pid_file.read_text()), signal.SIGHUP)
    director.wait_for("not reloaded")
    reloading, error, _ = director.said()
    assert reloading == "Reloading Linux Director Daemon config on signal"
    pid = director.pid_file.read_text().strip()
    assert error.startswith(f"Error [{pid}] reading file {director.file} at line 4: checktype must")


def test_without_logfile_the_log_is_where_the_machine_has_it(director):
    """Also after a reload to such a file."""
    other = director.root / "other"
    director.file.write_text(CF.format(log=other))
    assert director.run("www.cf reload") == 0
    director.wait_for("Reloading Linux")
    director.said()
    director.file.write_text(CF.partition("\n")[2].replace("gate 2", "gate 7"))
    assert director.run("www.cf reload") == 0
    director.wait_for("(Weight set to 7)")
    assert director.said()[0] == invoked("reload")


def test_status(director):
    assert director.run("www.cf status") == 0
    words = f"ldirectord for {director.file} is running with pid: {director.place.noted()}"
    assert (director.stdout, director.stderr) == ("", f"{words}\n")
    assert director.said() == [invoked("status"), words, "Exiting from ldirectord status"]


def test_status_asks_the_instances_that_go_with_it(director):
    """Also when they name each other."""
    other = director.file.with_name("other.cf")
    other.write_text(f'logfile="{director.log}"\nexecute=www.cf\n')
    director.file.write_text(f'{director.file.read_text()}\nexecute="other.cf"\n')
    assert director.run("www.cf status") == 0
    assert director.stdout == f"ldirectord is stopped for {other}\n"
    assert 'system(ldirectord "other.cf" status) failed: exit status 3' in director.said()
    its_daemon = Ownership(director.place.run_directory, str(other))
    its_daemon.acquire()
    assert director.run("www.cf status") == 0
    its_daemon.release()
    running = [line.partition(" is running")[0] for line in director.stderr.splitlines()]
    assert running == [f"ldirectord for {f}" for f in (director.file, other, director.file)]


@pytest.mark.parametrize(
    ("command", "status"),
    [("stop", 0), ("try-restart", 0), ("reload", 1), ("force-reload", 1), ("status", 3)],
)
@pytest.mark.parametrize("pid_file", [None, ""])
def test_without_a_daemon(machine, command, status, pid_file):
    if pid_file is not None:
        machine.pid_file.write_text(pid_file)
    stopped = f"ldirectord is stopped for {machine.file}"
    assert machine.run(f"www.cf {command}") == status
    assert machine.stdout == (f"{stopped}\n" if command == "status" else "")
    assert machine.stderr == ""
    said = [invoked(command)]
    if "reload" in command:
        said.append(stopped)
    if status:
        said.append(f"Exiting with exit_status {status}: Exiting from ldirectord {command}")
    assert machine.said() == said


@pytest.mark.parametrize("command", ["status", "stop", "reload", "start"])
def test_a_stale_pid_file(machine, command):
    machine.pid_file.write_text("99999999\n")
    expected = {"status": 1, "stop": 0, "reload": 1, "start": 0}
    assert machine.run(f"www.cf {command}") == expected[command]
    if command == "status":
        words = f"ldirectord stale pid file {machine.pid_file} for {machine.file}"
        assert machine.stderr == f"{words}\n"
        assert machine.stdout == f"ldirectord is stopped for {machine.file}\n"
        assert words in machine.said()
    assert (machine.pid_file.read_text() == "99999999\n") is (command != "start")


@pytest.mark.parametrize("command", ["status", "stop", "reload", "restart", "try-restart", "start"])
def test_a_broken_file_is_told_and_the_daemon_left_alone(director, command):
    """Debian's ldirectord deletes the pid file of the daemon that runs."""
    before = director.pid_file.read_text()
    director.file.write_text("checktimeout=never\n")
    assert director.run(f"www.cf {command}") == 2
    words = f"Error [{os.getpid()}] reading file {director.file} at line 1: invalid check timeout"
    assert director.stderr == f"{words} value\n"
    assert director.said() == ["Exiting with exit_status 2: config_error: Configuration Error"]
    assert director.pid_file.read_text() == before
    assert director.place.running()


def test_warnings_are_told_by_each_command(machine):
    machine.file.write_text(f"{CF.format(log=machine.log)}    checkcount=2\n")
    assert machine.run("www.cf stop") == 0
    words = f"Warning [{os.getpid()}] reading file {machine.file} at line 5: checkcount option is"
    assert machine.stderr.startswith(words)


def test_a_file_that_is_nowhere(machine):
    assert machine.run("none.cf status") == 1
    assert machine.stderr == "Config file none.cf not found\n"
    assert machine.said() == [
        "Config file none.cf not found",
        "Exiting with exit_status 1: Initialisation Error",
    ]


def test_bad_usage(machine):
    assert machine.run("-x www.cf start") == 255
    assert (machine.stdout, machine.stderr) == (USAGE, "Unknown option: x\n")
    assert machine.said() == []


@pytest.mark.parametrize(("option", "text"), [("-h", USAGE), ("-v", VERSION), ("-vh", USAGE)])
def test_help_and_version(machine, option, text):
    assert machine.run(option) == 0
    assert (machine.stdout, machine.stderr) == (text, "")


def no_engine() -> MemoryEngine:
    raise OnevipError("no such engine here")


def test_a_start_that_fails_says_why(machine):
    machine.engine = no_engine
    assert machine.run("www.cf start") == 1
    assert machine.stderr == "no such engine here\n"
    assert machine.said()[-2:] == [
        "no such engine here",
        "Exiting with exit_status 1: Initialisation Error",
    ]
    assert not list(machine.pid_file.parent.iterdir())


def test_a_bug_at_the_start_is_told_too(machine):
    machine.engine = lambda: 1 // 0
    assert machine.run("www.cf start") == 1
    assert machine.stderr == "ZeroDivisionError: integer division or modulo by zero\n"


def test_a_pid_file_that_cannot_be_written_is_told(machine):
    machine.pid_file.parent.rmdir()
    assert machine.run("www.cf start") == 1
    words = f"Can not open {machine.pid_file}: no such file or directory"
    assert machine.stderr == f"{words}\n"
    machine.pid_file.parent.mkdir()


def test_a_start_that_came_second_is_none(machine, monkeypatch):
    """Both saw nobody run; the lock of the file decides."""
    first = Ownership(machine.place.run_directory, str(machine.file))
    first.acquire()
    monkeypatch.setattr(Place, "running", lambda _: None)
    assert machine.run("www.cf start") == 0
    monkeypatch.undo()
    first.release()
    assert machine.stderr == ""
    assert not list(machine.pid_file.parent.iterdir())


def test_a_daemon_without_a_pid_file_is_found(director):
    """`onevip run`, -d and supervised=yes leave none."""
    director.pid_file.unlink()
    assert director.run("www.cf status") == 0
    assert director.run("www.cf start") == 0
    assert director.run("www.cf stop") == 0
    director.wait(lambda: not director.place.running())


def test_a_daemon_leaves_the_pid_file_of_another_alone(director):
    director.pid_file.write_text("1\n")
    assert director.run("www.cf stop") == 0
    director.wait(lambda: not director.place.running())
    assert director.pid_file.read_text() == "1\n"
