"""`passwd` and `secret` appear nowhere but on the wire: planted, then looked for in all that onevip
prints, writes, mails, logs and hands to other programs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netns.clusters import prefix
from netns.house import SOURCES, House

MARKS = ("Sesame-passwd", "Sesame-secret", "Sesame-typo")
CF = """\
checktimeout=1
checkinterval=1
logfile="/var/log/lb.log"
emailalert="operator@example.test"
autoreload=yes
virtual=192.0.2.1:80
    real=127.0.0.1:8080 masq
    fallback=127.0.0.1:8081 masq
    fallbackcommand="/usr/sbin/witness fallback"
    checktype=external
    checkcommand="/usr/sbin/witness"
    monitorfile="/var/log/monitor"
    login="operator"
    passwd="Sesame-passwd"
    secret="Sesame-secret"
virtual=192.0.2.1:1812
    real=127.0.0.1:1812 masq
    protocol=udp
    service=radius
    login="operator"
    passwd="Sesame-passwd"
    secret="Sesame-secret"
virtual=192.0.2.1:110
    real=127.0.0.1:110 masq
    service=pop
    login="operator"
    passwd="Sesame-passwd"
    monitorfile="/var/log/monitor"
virtual=192.0.2.1:7
    real=127.0.0.1:7 masq
    service=simpletcp
    request="PING"
    receive="PONG"
    login="operator"
    passwd="Sesame-passwd"
    monitorfile="/var/log/monitor"
"""
BROKEN = CF + "    pasword=Sesame-typo\n    secret=Sesame-typo\n"
#: A program that is run for us: all that it was given goes to /var/log/witness.
WITNESS = """\
#!/bin/sh
{ echo "arguments: $0 $*"; env; cat; tr '\\0' ' ' < /proc/$PPID/cmdline
  tr '\\0' ' ' < /proc/$PPID/environ; } >> /var/log/witness 2>&1
[ "$0" != /usr/sbin/sendmail ] || exit 0
exit 1
"""
#: onevip, but a probe that crashes with all that it knows in its exception.
CRASHING = """\
#!{python}
import sys
sys.path.insert(0, {sources!r})
from onevip.health import probes
from onevip.model import Secret
async def crash(check, tools):
    told = check.passwd.reveal() + check.secret.reveal()
    raise ValueError("it was " + told)
probes.PROBES["simpletcp"] = probes.PROBES["radius"] = probes.PROBES["pop"] = crash
from onevip.command.main import main
sys.exit(main())
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(prefix(), tmp_path / "layers", real=False) as house:
        house.write("/etc/ha.d/lb.cf", CF)
        for name in ("witness", "sendmail"):
            house.path(f"/usr/sbin/{name}").unlink(missing_ok=True)
            house.write(f"/usr/sbin/{name}", WITNESS, mode=0o755)
        yield house


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)


def said_by(house: House, *argv: str, status: tuple[int, ...] = (0,)) -> str:
    done = house.run(*argv)
    assert done.returncode in status, (argv, done)
    assert done.stdout + done.stderr
    return done.stdout + done.stderr


def while_it_runs(house: House, marker: str, *argv: str) -> str:
    """What a program in the foreground says until it has said this, and at its end."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    said = ""
    with house.start(*argv, **streams) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if marker in line:
                break
        process.terminate()
        said += process.stdout.read()
    return said


def written(house: House) -> dict[str, str]:
    """Every regular file that a daemon left, by path."""
    found = {}
    for directory in ("/var/log", "/run"):
        for path in house.path(directory).rglob("*"):
            if path.is_file() and "/bpf/" not in str(path):
                found[str(path)] = path.read_text(errors="replace")
    return found


def leaks(texts: dict[str, str]) -> list[str]:
    return [
        f"{where}: {line}"
        for where, text in texts.items()
        for line in text.splitlines()
        if re.search("|".join(MARKS), line)
    ]


def test_passwords_appear_nowhere(house: House) -> None:
    file = "/etc/ha.d/lb.cf"
    texts = {
        "check": said_by(house, "onevip", "check", file),
        "check --json": said_by(house, "onevip", "check", "--json", file),
        "plan": said_by(house, "onevip", "plan", file, status=(0, 3)),
    }
    assert "login operator, password ***" in texts["check"]
    assert said_by_start(house) == ""
    log = house.path("/var/log/lb.log")
    until(lambda: "emailalert" in log.read_text(), "a mail")
    texts["status"] = said_by(house, "onevip", "status")
    texts["status --json"] = said_by(house, "onevip", "status", "--json")
    house.write("/etc/ha.d/lb.cf", BROKEN)
    until(lambda: "reading file" in log.read_text(), "the broken file")
    texts["status of a broken file"] = said_by(house, "onevip", "status")
    texts["broken"] = said_by(house, "ldirectord", "lb.cf", "status", status=(2,))
    texts["check of the broken"] = said_by(house, "onevip", "check", file, status=(1,))
    house.write("/etc/ha.d/lb.cf", CF)
    house.run("ldirectord", "lb.cf", "stop")
    until(lambda: not house.path("/run/ldirectord.lb.cf.pid").exists(), "the end")
    texts |= written(house)
    witnessed = next(text for path, text in texts.items() if path.endswith("/witness"))
    for call in ("witness 192.0.2.1 80 127.0.0.1 8080", "witness fallback", "sendmail", "Subject"):
        assert call in witnessed
    assert leaks(texts) == []


def said_by_start(house: House) -> str:
    done = house.run("ldirectord", "lb.cf", "start")
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_passwords_appear_not_even_when_a_probe_crashes_over_them(house: House) -> None:
    crashing = CRASHING.format(python=sys.executable, sources=str(SOURCES))
    house.write("/usr/sbin/onevip", crashing, mode=0o755)
    file = "/etc/ha.d/lb.cf"
    texts = {
        "run": while_it_runs(house, "crashed: ValueError", "onevip", "run", file),
        "-d": while_it_runs(house, "crashed", "ldirectord", "-d", "lb.cf", "start"),
    }
    assert "it was ******" in texts["run"]
    assert leaks(texts | written(house)) == []


def test_the_search_finds_what_it_looks_for(house: House) -> None:
    house.write("/var/log/careless", "the password is Sesame-passwd\n")
    assert len(leaks(written(house))) == 1
