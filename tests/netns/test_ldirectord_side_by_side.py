"""Debian's ldirectord and ours on the same files: statuses, texts and log lines, side by side.

Each has a machine of its own, in which `/usr/sbin/ipvsadm` is ours. What differs on purpose is
named with its reason: MENDED, and the comments at the comparisons.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from netns.clusters import PATIENCE, prefix
from netns.house import House, sweep

PAGES = Path(__file__).with_name("pages.py")
ONE, TWO, FALLBACK = "10.20.0.11", "10.20.0.12", "10.20.0.13"
LOG = "/var/log/ldirectord.log"
PID_FILE = "/run/ldirectord.www.cf.pid"
CF = f"""\
checkinterval=1
negotiatetimeout=5
failurecount=2
quiescent=yes
fallback={FALLBACK}
virtual=10.20.0.100:80
    real={ONE}:80 gate 2
    real={TWO}:80 gate 1
    request="/"
    receive="served"
    scheduler=rr
"""
LEFT_OUT = ("warning: ", "Configuration file '/etc/ha.d/www.cf' has changed", " - ignore new")
IDLE = "virtual=10.20.0.100:80\n    real=10.20.0.11:80 gate\n    checktype=on\n"
BROKEN = "virtual=10.20.0.100:80\n    real=10.20.0.11:80 gate\n    checktimeout=soon\n"


@dataclass
class Both:
    """The two machines; what one does, the other does, at the same time."""

    real: House
    ours: House

    def each(self, do: Callable[[House], object]) -> tuple[object, object]:
        with ThreadPoolExecutor(2) as pool:
            real, ours = pool.map(do, (self.real, self.ours))
        return real, ours

    def write(self, path: str, text: str) -> None:
        self.each(lambda house: house.write(path, text))

    def remove(self, *paths: str) -> None:
        self.each(lambda house: [house.path(path).unlink(missing_ok=True) for path in paths])

    def ldirectord(self, line: str) -> tuple[Run, Run]:
        """What a command line of ldirectord comes to, on either side."""
        real, ours = self.each(lambda house: run_of(house.run("ldirectord", *line.split())))
        assert isinstance(real, Run)
        assert isinstance(ours, Run)
        return real, ours


@dataclass(frozen=True)
class Run:
    status: int
    stdout: str
    stderr: str


def run_of(done: subprocess.CompletedProcess[str]) -> Run:
    """Process ids are masked; Perl's own complaints about ldirectord are left out."""
    stderr = "".join(
        line
        for line in done.stderr.splitlines(keepends=True)
        if not line.startswith("Use of uninitialized value")
    )
    return Run(done.returncode, done.stdout, re.sub(r"\[\d+\]|(?<=pid: )\d+", "PID", stderr))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    sweep()
    layers = tmp_path_factory.mktemp("houses")
    with ExitStack() as houses:
        both = Both(
            *(
                houses.enter_context(
                    House(f"{prefix()}house-{name}", layers / name, real=name == "real")
                )
                for name in ("real", "ours")
            )
        )
        yield both


@pytest.fixture(autouse=True)
def _nobody_runs(both: Both) -> Iterator[None]:
    """Before each test: no daemon, no pid file, the same good file."""
    both.write("/etc/ha.d/www.cf", IDLE)
    yield
    both.each(end_daemon)
    both.remove(PID_FILE, LOG)


def end_daemon(house: House) -> None:
    if not house.path(PID_FILE).exists() or stale(house):
        return
    house.write("/etc/ha.d/www.cf", IDLE)
    house.run("ldirectord", "www.cf", "stop")
    wait(lambda: not house.path(PID_FILE).exists())


def stale(house: House) -> bool:
    pid = house.path(PID_FILE).read_text().strip()
    return not pid.isdigit() or not Path(f"/proc/{pid}").exists()


def wait(seen: Callable[[], object], what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + 20 * PATIENCE
    while not seen():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def equal(both: Both, line: str) -> Run:
    """The same on either side; what it is."""
    real, ours = both.ldirectord(line)
    assert ours == real
    return ours


def test_nobody_runs(both: Both) -> None:
    assert equal(both, "www.cf status").status == 3
    assert equal(both, "www.cf stop").status == 0
    assert equal(both, "www.cf try-restart").status == 0
    assert equal(both, "www.cf reload").status == 1
    assert equal(both, "www.cf force-reload").status == 1
    assert sentences(both.ours) == sentences(both.real)


def test_a_daemon_runs(both: Both) -> None:
    assert equal(both, "www.cf start").status == 0
    both.each(lambda house: wait(house.path(PID_FILE).exists))
    assert equal(both, "/etc/ha.d/www.cf status").status == 0
    assert equal(both, "www.cf start").status == 0
    assert equal(both, "www.cf reload").status == 0
    before = both.each(lambda house: house.path(PID_FILE).read_text())
    assert equal(both, "www.cf try-restart").status == 0
    both.each(lambda house: wait(house.path(PID_FILE).exists))
    after = both.each(lambda house: house.path(PID_FILE).read_text())
    assert [one != other for one, other in zip(before, after, strict=True)] == [True, True]
    assert equal(both, "www.cf status").status == 0
    assert equal(both, "www.cf stop").status == 0
    both.each(lambda house: wait(lambda: not house.path(PID_FILE).exists()))
    assert equal(both, "www.cf status").status == 3


def test_a_stale_or_empty_pid_file(both: Both) -> None:
    pid = "99999999\n"
    both.write(PID_FILE, pid)
    assert equal(both, "www.cf status").status == 1
    assert equal(both, "www.cf reload").status == 1
    assert equal(both, "www.cf stop").status == 0
    assert both.each(lambda house: house.path(PID_FILE).read_text()) == (pid, pid)
    both.write(PID_FILE, "")
    assert equal(both, "www.cf status").status == 3


def test_a_broken_file(both: Both) -> None:
    both.write("/etc/ha.d/www.cf", BROKEN)
    for command in ("start", "stop", "status", "reload"):
        assert equal(both, f"www.cf {command}").status == 2
    assert sentences(both.ours) == sentences(both.real)


#: Why the pid file of a running daemon is there afterwards, though the real one has deleted it.
MENDED = (
    "Debian's ldirectord deletes the pid file of the daemon that runs, which nobody can stop then"
)


def test_a_broken_file_while_a_daemon_runs(both: Both) -> None:
    assert equal(both, "www.cf start").status == 0
    both.each(lambda house: wait(house.path(PID_FILE).exists))
    both.write("/etc/ha.d/www.cf", BROKEN)
    pid = both.real.path(PID_FILE).read_text()
    assert equal(both, "www.cf status").status == 2
    assert both.each(lambda house: house.path(PID_FILE).exists()) == (False, True), MENDED
    both.real.write(PID_FILE, pid)  # so that it can be stopped


@pytest.mark.parametrize("line", ["/etc/none.cf start", "conf status"])
def test_a_file_that_is_nowhere(both: Both, line: str) -> None:
    """`conf` is a directory in /etc/ha.d."""
    assert equal(both, line).status == 1
    assert sentences(both.ours) == sentences(both.real)


def test_where_a_file_is_looked_for(both: Both) -> None:
    both.write("/etc/ha.d/conf/other.cf", IDLE)
    both.write("/etc/ha.d/ldirectord.cf", IDLE)
    for line in ("other.cf status", "status", "-- www.cf status"):
        assert equal(both, line).status == 3
    both.remove("/etc/ha.d/conf/other.cf", "/etc/ha.d/ldirectord.cf")


@pytest.mark.parametrize("line", ["", "www.cf frobnicate", "-qd --deb --debug=2 status"])
def test_bad_usage(both: Both, line: str) -> None:
    """The usage is in our words."""
    real, ours = both.ldirectord(line)
    assert (ours.status, ours.stderr) == (real.status, real.stderr)
    assert ours.status == 255
    assert ours.stdout.splitlines()[:2] == real.stdout.splitlines()[:2]


def test_a_warning(both: Both) -> None:
    both.write("/etc/ha.d/www.cf", IDLE + "    checkcount=2\n    checkinterval=7\n")
    run = equal(both, "www.cf stop")
    assert run.stderr.count("Warning ") == 2


# A story, told by the log of each.


@pytest.fixture
def pages(both: Both) -> Iterator[None]:
    """Real servers on either machine, all of them up."""

    def serve(house: House) -> subprocess.Popen[str]:
        for address in (ONE, TWO, FALLBACK, "10.20.0.100"):
            house.run("ip", "addr", "replace", f"{address}/32", "dev", "lo")
        house.path("/run/down").mkdir(exist_ok=True)
        argv = (sys.executable, str(PAGES), "/run/down", ONE, TWO, FALLBACK)
        server = house.start(*argv, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        return server

    servers = both.each(serve)
    yield
    for server in servers:
        assert isinstance(server, subprocess.Popen)
        server.kill()
        server.communicate()


def sentences(house: House) -> list[str]:
    """The log without dates, process ids and our version. Left out: our warnings, and that the
    file has changed, which is seen earlier or later, or after the reload not at all."""
    log = house.path(LOG)
    lines = log.read_text().splitlines() if log.exists() else []
    found = [re.sub(r"^\[[^]|]*\|[^]|]*\|\d+\] ", "", line) for line in lines]
    found = [re.sub(r"Error \[\d+\]|(?<=pid: )\d+", "PID", line) for line in found]
    found = [re.sub(r" \(onevip [\d.]+\)", "", line) for line in found]
    return [line for line in found if not line.startswith(LEFT_OUT)]


class Story:
    """What both logs say, from one turn of events to the next."""

    def __init__(self, both: Both) -> None:
        self._both = both
        self._read = [0, 0]

    def turns(self, happens: Callable[[House], object], *awaited: str) -> list[set[str]]:
        """Let it happen; the sentences until all that is awaited was said, on either side."""
        said = []
        self._both.each(happens)
        for side, house in enumerate((self._both.real, self._both.ours)):
            begin = self._read[side]

            def new(begin: int = begin, house: House = house) -> list[str]:
                return sentences(house)[begin:]

            wait(lambda new=new: all_said(awaited, new()), lambda new=new: "\n".join(new()))
            self._read[side] += len(new())
            said.append(set(new()))
        return said


def all_said(awaited: tuple[str, ...], lines: list[str]) -> bool:
    """A sentence is awaited as often as it is named."""
    return all(
        sum(words in line for line in lines) >= awaited.count(words) for words in set(awaited)
    )


@pytest.mark.usefixtures("pages")
def test_the_log_tells_the_same_story(both: Both) -> None:
    both.write("/etc/ha.d/www.cf", CF)
    story = Story(both)
    vip, vid = "10.20.0.100:80", "tcp:10.20.0.100:80"

    def down(*addresses: str) -> Callable[[House], object]:
        return lambda house: [(house.path("/run/down") / a).touch() for a in addresses]

    real, ours = story.turns(
        lambda house: house.run("ldirectord", "www.cf", "start"),
        *("Restored real server", "Restored real server", "Deleted fallback server"),
    )
    # Mended: the real one gives each server its full weight, unchecked, and takes it again; so
    # the fallback server comes and goes once for each, and there are failures to be reset.
    assert ours <= real
    for words in ("Added virtual server", "Quiescent real", "Added fallback", "Restored real"):
        assert any(line.startswith(words) for line in ours)

    real, ours = story.turns(down(TWO), f"Quiescent real server: {TWO}:80")
    assert (
        ours
        == real
        == {
            f"Soft failure real server: {TWO}:80 ({vid}) failure 1/2",
            f"Quiescent real server: {TWO}:80 ({vip}) (Weight set to 0)",
        }
    )

    real, ours = story.turns(down(ONE), "fallback server", "Quiescent real server")
    assert ours == real
    assert f"Added fallback server: {FALLBACK}:80 ({vip}) (Weight set to 1)" in ours

    def up(house: House) -> None:
        for path in house.path("/run/down").iterdir():
            path.unlink()

    restored = "Restored real server"
    real, ours = story.turns(up, restored, restored, "Deleted fallback server")
    assert ours == real
    assert f"Resetting soft failure count: {ONE}:80 ({vid})" in ours
    assert f"Deleted fallback server: {FALLBACK}:80 ({vip})" in ours

    both.write("/etc/ha.d/www.cf", CF.replace(f"    real={TWO}:80 gate 1\n", ""))
    real, ours = story.turns(
        lambda house: house.run("ldirectord", "www.cf", "reload"), "Purged real server"
    )
    # Mended: a service that stays as it is is not changed.
    assert real - ours == {f"Changed virtual server: {vip}"}
    assert ours <= real

    both.write("/etc/ha.d/www.cf", CF + "    checktimeout=soon\n")
    reload = lambda house: house.run("sh", "-c", f"kill -HUP $(cat {PID_FILE})")  # noqa: E731
    real, ours = story.turns(reload, "invalid check timeout")
    wait(lambda: any("not reloaded" in line for line in sentences(both.ours)))
    # Mended: the last good configuration stays in force, and the log says so.
    assert ours - real <= {"error: not reloaded, the last good configuration stays in force"}
    assert real <= ours

    both.write("/etc/ha.d/www.cf", CF.replace(f"    real={TWO}:80 gate 1\n", ""))
    real, ours = story.turns(lambda house: house.run("ldirectord", "www.cf", "stop"), "terminated")
    assert (
        {
            f"Purged real server (stop): {ONE}:80 ({vip})",
            f"Purged virtual server (stop): {vip}",
            "Linux Director Daemon terminated on signal: TERM",
        }
        <= ours
        <= real | {"error: not reloaded, the last good configuration stays in force"}
    )
    assert both.each(table) == ("", "")


def table(house: House) -> str:
    """The services that are left."""
    return "\n".join(house.run("ipvsadm", "-Ln").stdout.splitlines()[3:])


@pytest.mark.usefixtures("pages")
def test_debugging_says_the_same_of_checks_and_changes(both: Both) -> None:
    """A link in /etc/ha.d/resource.d, as in the guides."""
    both.write("/etc/ha.d/www.cf", CF)

    def debug(house: House) -> str:
        (house.path("/run/down") / TWO).touch()
        house.path("/etc/ha.d/resource.d").mkdir(exist_ok=True)
        link = house.path("/etc/ha.d/resource.d/ldirectord")
        link.unlink(missing_ok=True)
        link.symlink_to("/usr/sbin/ldirectord")
        daemon = house.start(
            "/etc/ha.d/resource.d/ldirectord", "-d", "www.cf", "start", stderr=subprocess.PIPE
        )
        said = ""
        assert daemon.stderr is not None
        deadline = time.monotonic() + 20 * PATIENCE
        while said.count(" is up\n") < 2 or said.count(" is down\n") < 2:
            said += (line := daemon.stderr.readline())
            assert line, said
            assert time.monotonic() < deadline, said
        daemon.terminate()
        said += daemon.stderr.read()
        daemon.stderr.close()
        assert daemon.wait(30) == 0
        (house.path("/run/down") / TWO).unlink()
        return said

    real, ours = both.each(debug)
    assert isinstance(real, str)
    assert isinstance(ours, str)
    for start in ("DEBUG2: Checking ", "DEBUG2: check_http: "):
        assert lines_of(ours, start) == lines_of(real, start) != set(), start
    assert lines_of(ours, "DEBUG2: check_http: http") == {
        f"DEBUG2: check_http: http://{ONE}:80/ is up",
        f"DEBUG2: check_http: http://{TWO}:80/ is down",
    }
    # Mended: the real one enables and disables both at the start.
    for start, address in (("DEBUG2: Enabled ", ONE), ("DEBUG2: Disabled ", TWO)):
        (line,) = lines_of(ours, start)
        assert line in lines_of(real, start)
        assert address in line
    commands, real_commands = (
        lines_of(said, "DEBUG2: Running system(/sbin/ipvsadm ") for said in (ours, real)
    )
    # Mended: real servers that have not proved themselves come with weight 0, and the end takes
    # real servers away with their service.
    added = {
        command for command in commands if re.search(r" -a .* -r 10\.20\.0\.1[12].* -w 0", command)
    }
    assert len(added) == 2
    assert commands - added <= real_commands
    assert {"DEBUG2: Running system(/sbin/ipvsadm -D -t 10.20.0.100:80)"} <= commands


def lines_of(said: str, start: str) -> set[str]:
    """ldirectord writes a blank at the end of some commands."""
    return {line.replace(" )", ")") for line in said.splitlines() if line.startswith(start)}


def test_supervised_says_its_log_on_stdout(both: Both) -> None:
    both.write("/etc/ha.d/www.cf", f"supervised=yes\n{IDLE}")

    def supervise(house: House) -> tuple[list[str], int]:
        daemon = house.start("ldirectord", "www.cf", "start", stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        said = [daemon.stdout.readline() for _ in range(4)]
        status = house.run("ldirectord", "www.cf", "status").returncode
        daemon.terminate()
        daemon.communicate()
        assert daemon.returncode == 0
        assert not house.path(PID_FILE).exists()
        masked = [
            re.sub(r"^\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]", "[DATE]", line) for line in said
        ]
        return [re.sub(r" \(onevip [\d.]+\)|(?<=pid: )\d+", "", line) for line in masked], status

    (real, real_status), (ours, our_status) = both.each(supervise)
    assert ours == real
    assert ours[2:] == [
        "[DATE] Added virtual server: 10.20.0.100:80\n",
        "[DATE] Added real server: 10.20.0.11:80 (10.20.0.100:80) (Weight set to 1)\n",
    ]
    # Mended: without a pid file the real one takes it for stopped, and would start a second.
    assert (our_status, real_status) == (0, 3)


def test_each_knows_the_daemon_of_the_other(both: Both) -> None:
    """On the way from one to the other, and back."""
    house = both.real
    debians, ours = ("ldirectord",), ("onevip", "ldirectord")
    for one, other in ((debians, ours), (ours, debians)):
        assert house.run(*one, "www.cf", "start").returncode == 0
        wait(house.path(PID_FILE).exists)
        status = house.run(*other, "www.cf", "status")
        assert (status.returncode, "is running with pid: " in status.stderr) == (0, True)
        assert house.run(*other, "www.cf", "start").returncode == 0
        assert house.run(*other, "www.cf", "stop").returncode == 0
        wait(lambda: not house.path(PID_FILE).exists())


def test_what_old_scripts_do_with_it(both: Both) -> None:
    """The OCF agent: start, then a monitor at once; stop, without waiting, then a start."""
    for command in ("start", "status", "stop", "start"):
        assert both.ours.run("ldirectord", "www.cf", command).returncode == 0
    pid = both.ours.path(PID_FILE).read_text().strip()
    both.ours.run("kill", "-9", pid)
    wait(lambda: stale(both.ours))
    monitored = both.ours.run("ldirectord", "www.cf", "status")
    assert (monitored.returncode, "stale pid file" in monitored.stderr) == (1, True)
    assert both.ours.run("ldirectord", "www.cf", "start").returncode == 0
    assert both.ours.run("ldirectord", "www.cf", "status").returncode == 0
