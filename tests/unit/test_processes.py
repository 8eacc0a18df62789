"""Programs that end, fail, hang, chatter and leave children behind. Real ones, short."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from onevip import processes
from onevip.processes import Ended


def run(*argv: str, limit_s: float = 20, **options: object) -> Ended:
    return asyncio.run(processes.run(argv, limit_s=limit_s, **options))


def sh(script: str, **options: object) -> Ended:
    return run("/bin/sh", "-c", script, **options)


def is_alive(pid: int) -> bool:
    """Whether it runs still: no zombie that an init of a container has yet to take."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        os.sched_yield()
    return not is_alive(pid)


def appears(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists() and time.monotonic() < end:
        os.sched_yield()


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.05)


def test_its_status_and_what_it_wrote():
    ended = sh("echo out; echo err >&2; exit 3")
    assert (ended.status, ended.signal, ended.timed_out) == (3, None, False)
    assert ended.output == b"out\nerr\n"
    assert not ended.succeeded
    assert str(ended) == "exited with status 3"


def test_a_signal_is_no_success():
    ended = sh("kill -9 $$")
    assert (ended.status, ended.signal) == (None, 9)
    assert not ended.succeeded
    assert str(ended) == "was ended by SIGKILL"


def test_one_that_hangs_is_ended_with_its_group(no_grace, tmp_path):
    child = tmp_path / "child"
    script = f"trap '' TERM; sleep 100 & echo $! > {child}; wait; wait; sleep 100"
    ended = sh(script, limit_s=0.3)
    assert ended.timed_out
    assert ended.signal == signal.SIGKILL
    assert not ended.succeeded
    assert str(ended) == "took too long and was ended"
    assert gone(int(child.read_text()))


def test_one_that_heeds_term_may_clean_up(tmp_path):
    ended = sh("trap 'echo clean; exit 5' TERM; echo on; sleep 100 & wait", limit_s=0.3)
    assert ended.timed_out
    assert ended.output == b"on\nclean\n"


def test_cancelling_kills_the_group(tmp_path):
    note = tmp_path / "pids"

    async def life() -> list[int]:
        script = f"sleep 100 & echo $$ $! > {note}.new; mv {note}.new {note}; wait"
        task = asyncio.create_task(processes.run(["/bin/sh", "-c", script], limit_s=50))
        await asyncio.to_thread(appears, note)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [int(pid) for pid in note.read_text().split()]

    assert all(gone(pid) for pid in asyncio.run(life()))


def test_its_output_is_bounded_and_never_makes_it_wait():
    ended = sh("head -c 1000000 /dev/zero; exit 7", output_limit=100)
    assert ended.status == 7
    assert ended.output == bytes(100)


def test_a_child_that_it_leaves_behind_lives_on_and_is_not_waited_for(tmp_path):
    note = tmp_path / "pid"
    started = time.monotonic()
    ended = sh(f"sleep 60 & echo $! > {note}; echo done")
    assert time.monotonic() - started < 30
    assert ended.output == b"done\n"
    child = int(note.read_text())
    try:
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_stdin_is_what_it_is_given_or_nothing():
    assert run("cat").output == b""
    assert run("cat", stdin=b"line\n" * 20_000, output_limit=100_000).output == b"line\n" * 20_000


def test_the_environment_is_what_anybody_may_know(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "planted")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    words = run("env").output.decode()
    assert "planted" not in words
    assert "LC_ALL=C.UTF-8" in words
    assert "PATH=" in words
    assert run("/usr/bin/env", env={"A": "b"}).output == b"A=b\n"


def test_it_has_a_session_of_its_own_and_no_descriptors_of_ours(tmp_path):
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        ended = sh("ls /proc/self/fd | tr '\\n' ' '; cut -d ' ' -f 6 /proc/$$/stat; echo $$")
    descriptors, session = ended.output.decode().split("\n")[0].rsplit(" ", 1)
    assert descriptors == "0 1 2 3"  # ls opens the directory as its fourth
    assert session == ended.output.decode().split("\n")[1] != str(os.getsid(0))


def test_a_program_that_is_not_there():
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        run("/nowhere/at/all")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
