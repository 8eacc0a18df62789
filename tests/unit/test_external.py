"""External checks: real programs that are up, down, hang, flood, fork, are missing or killed."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.health import programs
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Outcome

ARGUMENTS = ("192.0.2.1", "80", "10.0.0.2", "8080")
PERL = shutil.which("perl")
needs_perl = pytest.mark.skipif(PERL is None, reason="no perl here: apt install perl")


def external(command: object, timeout_s: float = 10, kind=CheckType.EXTERNAL) -> Check:
    server = IPv4Address("10.0.0.2")
    return Check(kind, server, 8080, timeout_s, 1, command=str(command), arguments=ARGUMENTS)


async def tried(check: Check, tools: Tools) -> Outcome:
    return await attempt(check, check.probes[-1], PROBES, tools)


def with_tools(story: Callable[[Tools], Awaitable[None]]) -> None:
    async def run() -> None:
        tools = Tools(Matcher().search)
        try:
            async with asyncio.timeout(30):
                await story(tools)
        finally:
            await tools.close()

    asyncio.run(run())


def outcome(check: Check) -> Outcome:
    found = []

    async def story(tools: Tools) -> None:
        found.append(await tried(check, tools))

    with_tools(story)
    return found[0]


@pytest.fixture
def script(tmp_path):
    def write(text: str, first: str = "#!/bin/sh", mode: int = 0o755) -> Path:
        path = tmp_path / f"check{len(list(tmp_path.iterdir()))}"
        path.write_text(f"{first}\n{textwrap.dedent(text)}")
        path.chmod(mode)
        return path

    return write


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.005)


async def gone(pid: int) -> None:
    await until(lambda: not is_alive(pid))


async def numbers_in(path: Path, count: int = 1) -> list[int]:
    """The pids that scripts wrote there, once they have."""
    await until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().splitlines()]  # noqa: ASYNC240


def cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_exit_status_0_is_healthy_and_any_other_is_not(script):
    assert outcome(external(script("exit 0"))) == Outcome(True, "exit status 0")
    assert outcome(external(script("exit 3"))) == Outcome(False, "exit status 3")


def test_its_first_words_are_the_reason(script):
    shell = script("echo replica lags\necho; echo 40 s >&2; exit 2")
    assert outcome(external(shell)).reason == "exit status 2: replica lags / 40 s"


def test_a_killed_program_is_not_healthy(script):
    assert outcome(external(script("kill -9 $$"))) == Outcome(False, "killed by SIGKILL")


def test_it_gets_four_arguments_no_input_and_a_small_environment(script, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_DIRECTOR", "x")
    monkeypatch.setenv("LANG", "C.UTF-8")
    shell = script('echo "$# $*"; cat; pwd; env | cut -d= -f1 | sort | tr "\\n" " "')
    said = outcome(external(shell)).reason.split(" / ")
    assert said[:2] == ["exit status 0: 4 192.0.2.1 80 10.0.0.2 8080", "/"]
    assert set(said[2].split()) - {"_", "PWD", "SHLVL", "OLDPWD"} <= set(programs.ENVIRONMENT)
    assert {"PATH", "LANG"} <= set(said[2].split())


def test_signals_are_as_in_a_fresh_process(script):
    ignored = outcome(external(script("sed -n s/SigIgn:.//p /proc/$$/status"))).reason
    mask = int(ignored.split()[-1], 16)
    assert not any(mask >> number - 1 & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


def test_a_name_without_a_slash_is_found_by_path():
    found = outcome(Check(CheckType.EXTERNAL, IPv4Address("10.0.0.2"), 1, 9, 1, command="env"))
    assert found.healthy


def test_no_shell_reads_the_command(script):
    shell = script("exit 0")
    found = outcome(external(f"{shell} -v"))
    assert not found.healthy
    assert found.reason.endswith("its name is all that checkcommand takes, no arguments")


def test_a_script_without_its_first_line_is_run_by_sh(script):
    assert outcome(external(script('echo "$3"', first=""))) == Outcome(
        True, "exit status 0: 10.0.0.2"
    )


@pytest.mark.parametrize(
    ("first", "mode", "reason"),
    [
        ("#!/bin/sh", 0o644, "not executable: chmod +x it, if it is the right one"),
        ("#!/no/such/shell", 0o755, "its first line (#!) names an interpreter that is not here"),
        ("#!/bin/sh\r", 0o755, "its first line (#!) names an interpreter that is not here"),
    ],
)
def test_what_cannot_be_executed_says_what_to_do(script, first, mode, reason):
    path = script("exit 0", first, mode)
    assert outcome(external(path)) == Outcome(False, f"{path}: {reason}")
    assert outcome(external("/no/such")) == Outcome(False, "/no/such: no such program")


def test_a_hanging_program_ends_with_all_that_it_started(script, tmp_path):
    shell = script(
        f"""
        trap '' TERM
        sh -c 'trap "" TERM; echo $$ > {tmp_path}/grandchild; while :; do sleep 100; done' &
        echo $$ > {tmp_path}/child
        while :; do sleep 100; done
        """
    )

    async def story(tools: Tools) -> None:
        probing = asyncio.create_task(tried(external(shell, timeout_s=0.5), tools))
        [child] = await numbers_in(tmp_path / "child")
        [grandchild] = await numbers_in(tmp_path / "grandchild")
        assert await probing == Outcome(False, "timed out after 0.5 s")
        await gone(child)
        await gone(grandchild)

    with_tools(story)


def test_a_grandchild_that_holds_the_output_open_holds_up_nobody(script, tmp_path):
    shell = script(f"sleep 100 &\necho $! > {tmp_path}/grandchild\necho started; exit 0")

    async def story(tools: Tools) -> None:
        assert await tried(external(shell), tools) == Outcome(True, "exit status 0: started")
        await gone(*await numbers_in(tmp_path / "grandchild"))

    with_tools(story)


def test_a_flood_of_words_is_read_but_not_kept(script):
    shell = script("echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; exit 4")
    found = outcome(external(shell))
    assert found.reason.startswith("exit status 4: first / xxx")
    assert len(found.reason) <= 200


def test_an_endless_flood_costs_next_to_nothing(script):
    async def story(tools: Tools) -> None:
        probing = asyncio.create_task(tried(external("yes", timeout_s=0.5), tools))
        await asyncio.sleep(0)
        assert await probing == Outcome(False, "timed out after 0.5 s")
        assert cpu_s(tools.programs._worker.pid) < 0.3

    with_tools(story)


def test_a_check_that_is_removed_ends_its_program(script, tmp_path):
    shell = script(f"echo $$ > {tmp_path}/child; exec sleep 100")

    async def story(tools: Tools) -> None:
        probing = asyncio.create_task(tried(external(shell), tools))
        [child] = await numbers_in(tmp_path / "child")
        probing.cancel()
        await gone(child)

    with_tools(story)


def test_a_daemon_that_stops_leaves_nothing_running(script, tmp_path):
    shell = script(f"trap '' TERM; echo $$ > {tmp_path}/child; while :; do sleep 100; done")
    children = []

    async def story(tools: Tools) -> None:
        probing = asyncio.create_task(tried(external(shell), tools))
        children.extend(await numbers_in(tmp_path / "child"))
        await tools.close()
        await probing

    with_tools(story)
    assert not is_alive(children[0])


DIRECTOR = """
import asyncio, sys
sys.path[:0] = {path!r}
import unit.test_external as t
async def main():
    await t.tried(t.external(sys.argv[1]), t.Tools(t.Matcher().search))
asyncio.run(main())
"""


def test_a_daemon_that_is_killed_leaves_nothing_running(script, tmp_path):
    shell = script(f"echo $$ > {tmp_path}/child; exec sleep 100")
    director = subprocess.Popen([sys.executable, "-c", DIRECTOR.format(path=sys.path), str(shell)])
    try:
        [child] = asyncio.run(numbers_in(tmp_path / "child"))
    finally:
        director.kill()
        director.wait()
    asyncio.run(gone(child))


def test_a_worker_that_dies_blames_no_server_and_is_replaced(script, tmp_path):
    shell = script(f"echo $$ > {tmp_path}/child; exec sleep 100")

    async def story(tools: Tools) -> None:
        probing = asyncio.create_task(tried(external(shell), tools))
        [child] = await numbers_in(tmp_path / "child")
        [program] = tools.programs._running.values()
        await asyncio.shield(program.started)
        tools.programs._worker.kill()
        found = await probing
        assert (found.tried, found.reason) == (False, "the process that runs programs has died")
        await gone(child)
        assert await tried(external("true"), tools) == Outcome(True, "exit status 0")

    with_tools(story)


def test_a_worker_that_cannot_be_started_blames_no_server(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert not outcome(external("true")).tried


def test_a_start_that_hangs_blames_no_server_and_holds_up_no_other_probe(monkeypatch, script):
    async def story(tools: Tools) -> None:
        assert (await tried(external("true"), tools)).healthy
        tools.programs._worker.send_signal(signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(programs, "START_LIMIT_S", 0.2)
            hanging = await tried(external("true"), tools)
        assert (hanging.tried, hanging.reason) == (False, "true did not start within 0.2 s")
        tools.programs._worker.send_signal(signal.SIGCONT)
        assert (await tried(external("true"), tools)).healthy

    with_tools(story)


@pytest.mark.parametrize("command", ["/bin/tr\0ue", "/bin/" + 300 * "x"])
def test_a_name_that_no_program_can_have_ends_no_other(script, command):
    async def story(tools: Tools) -> None:
        other = await tools.programs.start(["/bin/sh", "-c", "read line < /dev/zero"])
        found = await tried(external(command), tools)
        assert (found.tried, found.healthy) == (True, False)
        assert (await tried(external("true"), tools)).healthy
        assert not other.ended.done()
        other.stop()

    with_tools(story)


class Unkillable:
    """A worker that the kernel keeps in the middle of a system call, of NFS for example."""

    stdin = io.BytesIO()

    async def wait(self) -> None:
        await asyncio.Event().wait()

    def kill(self) -> None:
        """Has no effect."""


def test_a_worker_that_cannot_be_killed_does_not_hold_up_the_end(monkeypatch):
    async def story() -> None:
        unkillable = programs.Programs()
        unkillable._worker = Unkillable()
        unkillable._listening = asyncio.create_task(unkillable._worker.wait())
        async with asyncio.timeout(10):
            await unkillable.close()

    monkeypatch.setattr(programs, "STOP_LIMIT_S", 0.01)
    asyncio.run(story())


def test_few_programs_begin_at_once_and_those_that_hang_let_others_begin(script, tmp_path):
    hangs = script(f"echo $$ >> {tmp_path}/pids; exec sleep 100")

    async def story(tools: Tools) -> None:
        few = Tools(tools.search, programs=programs.Programs(young_at_once=2))
        hanging = [asyncio.create_task(tried(external(hangs), few)) for _ in range(4)]
        try:
            await numbers_in(tmp_path / "pids", 2)
            assert (await tried(external("true"), few)).healthy
            # Two places, and each of the four kept its own for a while.
            assert len(await numbers_in(tmp_path / "pids", 4)) == 4
            assert not any(task.done() for task in hanging)
        finally:
            await few.close()
            await asyncio.gather(*hanging)

    with_tools(story)


def test_a_program_that_ends_leaves_its_place_at_once(monkeypatch):
    monkeypatch.setattr(programs, "YOUNG_S", 1000)

    async def story(tools: Tools) -> None:
        one = Tools(tools.search, programs=programs.Programs(young_at_once=1))
        try:
            crowd = [tried(external(name), one) for name in ("true", "/no/such", "true")]
            healths = [found.healthy for found in await asyncio.gather(*crowd)]
            assert healths == [True, False, True]
        finally:
            await one.close()

    with_tools(story)


def test_a_crowd_of_programs_all_end_well():
    async def story(tools: Tools) -> None:
        crowd = [tried(external("true"), tools) for _ in range(200)]
        assert set(await asyncio.gather(*crowd)) == {Outcome(True, "exit status 0")}
        assert not tools.programs._running

    with_tools(story)


# external-perl


@needs_perl
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1;", "exit status 0"),
        ("exit;", "exit status 0"),
        ("my $none; exit $none;", "exit status 0"),
        ("exit 'words';", "exit status 0"),
        ("return 7;", "exit status 0"),
        ("print qq(@ARGV); exit(0) if @ARGV == 4; exit 9", f"exit status 0: {' '.join(ARGUMENTS)}"),
        ("sub down { exit 3 } down();", "exit status 3"),
        ("exit 256;", "exit status 1"),
        ("exit 0.5;", "exit status 1"),
        ("exit -1;", "exit status 255"),
        ("system('false'); exit $?;", "exit status 1"),
        ("die qq(no answer\\n);", "exit status 255: no answer"),
        ("kill 9, $$;", "killed by SIGKILL"),
    ],
)
def test_a_perl_file_decides_by_its_exit_value(script, text, reason):
    """Those that the real program has, too, were tried with it: spec ldirectord §4."""
    found = outcome(external(script(text, "#!/usr/bin/perl"), kind=CheckType.EXTERNAL_PERL))
    assert found == Outcome(reason.startswith("exit status 0"), reason)


@needs_perl
def test_a_perl_file_that_is_no_perl_or_not_there_is_down(script):
    broken = script("my $a = ;", "use strict;")
    reason = outcome(external(broken, kind=CheckType.EXTERNAL_PERL)).reason
    assert reason.startswith(f"exit status 255: syntax error at {broken} line 2")
    missing = outcome(external("/no/such.pl", kind=CheckType.EXTERNAL_PERL))
    assert missing.reason == "exit status 2: /no/such.pl: No such file or directory"
    assert not missing.healthy


@needs_perl
def test_a_perl_file_that_hangs_is_ended(script):
    hangs = external(script("sleep 100;"), timeout_s=0.3, kind=CheckType.EXTERNAL_PERL)
    assert outcome(hangs) == Outcome(False, "timed out after 0.3 s")


def test_a_missing_perl_is_named_with_the_line_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = outcome(external("/any.pl", kind=CheckType.EXTERNAL_PERL))
    assert found == Outcome(False, "perl not found: apt install perl")
