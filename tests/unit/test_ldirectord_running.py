"""Who runs for a configuration file: by the lock of our daemon, else by the pid file."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onevip.command.ldirectord.running import Daemon, Place
from onevip.daemon import Ownership, ownership


@pytest.fixture
def place(tmp_path) -> Place:
    file = tmp_path / "www.cf"
    file.touch()
    return Place("www.cf", str(file), tmp_path / "ldirectord.www.cf.pid", tmp_path / "run")


@contextmanager
def process(tmp_path: Path, name: str, *words: str) -> Iterator[int]:
    """A process whose command line reads `python …/name words`; its pid."""
    program = tmp_path / name
    program.write_text("print('ready', flush=True); input()")
    argv = [sys.executable, str(program), *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"ready\n"
        yield running.pid
        running.kill()


def test_nobody_runs(place):
    assert place.running() is None
    assert place.noted() == ""


@pytest.mark.parametrize("words", [("www.cf", "start"), ("-d", "/etc/ha.d/www.cf", "restart")])
def test_a_strange_ldirectord_is_known_by_its_pid_file(place, tmp_path, words):
    with process(tmp_path, "ldirectord", *words) as pid:
        assert place.running() is None
        place.pid_file.write_text(f"{pid}\n")
        assert place.running() == Daemon(pid, is_ours=False)
    assert place.running() is None
    assert place.noted() == str(pid)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ldirectord", ("other.cf", "start")),  # the daemon of another file
        ("ldirectord", ("www.cf", "status")),  # looks, as we do
        ("ldirectord", ("start",)),  # the daemon of ldirectord.cf
        ("vim", ("/etc/ha.d/ldirectord.cf",)),
        ("tail", ("-f", "/var/log/ldirectord.log")),
        ("man", ("ldirectord",)),
    ],
)
def test_a_pid_that_was_used_again_is_no_daemon(place, tmp_path, name, words):
    with process(tmp_path, name, *words) as pid:
        place.pid_file.write_text(f"{pid}\n")
        assert place.running() is None


def test_other_programs_are_no_daemon_whatever_they_are_given(place):
    """`man ldirectord www.cf start`: the first word is no interpreter of ours."""
    argv = ["sh", "-c", "echo ready; read line", "ldirectord", "www.cf", "start"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout.readline() == b"ready\n"
        place.pid_file.write_text(f"{shell.pid}\n")
        assert place.running() is None
        shell.kill()


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", "-1\n", "²\n", "99999999\n"])
def test_a_damaged_pid_file_names_nobody(place, text):
    place.pid_file.write_text(text)
    assert place.running() is None


def test_a_daemon_of_ours_is_known_by_its_lock_without_a_pid_file(place):
    holder = Ownership(place.run_directory, place.file)
    holder.acquire()
    assert place.running() == Daemon(os.getpid(), is_ours=True)
    place.pid_file.write_text("1\n")
    assert place.running() == Daemon(os.getpid(), is_ours=True)
    holder.release()
    assert place.running() is None


def test_asking_who_runs_does_not_keep_a_daemon_from_starting(place, monkeypatch):
    """The question tries the lock: no daemon begins meanwhile."""
    others_wait = []

    def locked(descriptor: int) -> bool:
        directory = os.open(place.run_directory, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            others_wait.append(True)
        finally:
            os.close(directory)
        return False

    Ownership(place.run_directory, place.file).acquire()
    monkeypatch.setattr(ownership, "_locked", locked)
    assert place.running() == Daemon(os.getpid(), is_ours=True)
    assert others_wait == [True]


def test_a_daemon_that_has_heard_term_is_ending():
    daemon = Daemon(os.getpid(), is_ours=True)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert not daemon.is_ending
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert daemon.is_ending
        assert not Daemon(os.getpid(), is_ours=False).is_ending
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_for_one_that_has_just_ended_is_none():
    ended = subprocess.Popen(["true"])
    ended.wait()
    Daemon(ended.pid, is_ours=True).signal(signal.SIGTERM)
