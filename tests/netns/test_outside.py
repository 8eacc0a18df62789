"""Mails, monitor files, callback: through a whole daemon, with exim for the mails."""

from __future__ import annotations

import json
import mailbox
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from pathlib import Path

import pytest

from netns.clusters import prefix
from netns.exim import Exim
from netns.waiting import appears
from onevip.lab.namespace import Namespace

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
MARKER = "planted-Zx81"
CF = """\
checkinterval=1
negotiatetimeout=2
virtual=10.20.0.100:80
    real=127.0.0.11:8011 masq 2
    fallback=127.0.0.1:9999
    service=http
"""
#: What programs of the operator's see of the world, for the test to look at.
NOTING = """\
#!/bin/sh
{ echo "called $*"; cat /proc/$$/environ; cat /proc/$$/cmdline; echo; } >> "%s"
echo "said by a program"
"""
IT = "127.0.0.11:8011 (10.20.0.100:80)"


class Stage:
    """A namespace with exim, a web server and a daemon, and the files they write."""

    def __init__(self, namespace: Namespace, room: Path) -> None:
        self.namespace, self.room = namespace, room
        self.exim = Exim(namespace, room / "exim", "127.0.0.9")
        self.monitor, self.log, self.calls = (room / name for name in ("monitor", "log", "calls"))
        self.answer, self.file = room / "answer", room / "lb.cf"
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, **mail: object) -> None:
        self.answer.write_text("200 OK")
        self._start_web()
        program = self.room / "program"
        program.write_text(NOTING % self.calls)
        program.chmod(0o755)
        self.file.write_text(CF)
        to = ["ops@example.org", "nobody@example.org"]
        wanted = {
            "mail": {"to": to, "sender": "", "smtp_host": "127.0.0.9", "repeat_s": 1, **mail},
            "service": {
                "monitor_file": str(self.monitor),
                "fallback_command": f"{program} --page",
                "service_name": "Web shop",
                "comment": "Call Joe",
            },
            "configuration": {"callback": str(program), "check_interval_s": 0.2},
            "secret": MARKER,
        }
        Path(f"{self.file}.json").write_text(json.dumps(wanted))
        with self.log.open("wb") as log:
            self.daemon = self._python(
                "outside_daemon.py", str(self.file), str(self.room / "run"), output=log
            )
        appears(self.log, "started on")

    def stop(self) -> None:
        self.daemon.terminate()
        assert self.daemon.wait(20) == 0

    def mails(self) -> list[Message]:
        with closing(mailbox.mbox(self.exim.box)) as box:
            return list(box)

    def _start_web(self) -> None:
        web = self._python("web.py", "127.0.0.11", "8011", str(self.answer), output=subprocess.PIPE)
        assert web.stdout is not None
        with web.stdout:
            assert web.stdout.readline() == b"ready\n"

    def _python(self, name: str, *arguments: str, output: object) -> subprocess.Popen[bytes]:
        environment = (f"PYTHONPATH={SOURCES}", f"API_TOKEN={MARKER}")
        argv = ("env", *environment, sys.executable, str(HERE / name), *arguments)
        child = self.namespace.start(*argv, output=output)
        self.children.append(child)
        return child


@contextmanager
def staged() -> Iterator[Stage]:
    namespace = Namespace(f"{prefix()}mail")
    namespace.create()
    # exim delivers as nobody, who may not enter pytest's directories.
    directory = tempfile.TemporaryDirectory(prefix="onevip-mail-")
    Path(directory.name).chmod(0o711)
    stage = Stage(namespace, Path(directory.name))
    try:
        namespace.ip("link set lo up")
        stage.exim.start()
        yield stage
    finally:
        namespace.remove()
        stage.exim.ended()
        for child in stage.children:
            child.wait()
        directory.cleanup()


@pytest.fixture(scope="module")
def past() -> Iterator[Stage]:
    """The whole life of a daemon: a server went down and came back, the file changed, TERM."""
    with staged() as stage:
        stage.start()
        stage.exim.has(f"Added real server: {IT}")
        stage.answer.write_text("503 Busy")
        stage.exim.has(f"Inaccessible real server: {IT}")  # emailalertfreq=1
        stage.answer.write_text("200 OK")
        stage.file.write_text(CF + "# touched\n")
        stage.exim.has(f"Log-Message: [Web shop] Added real server: {IT}", times=2)
        appears(stage.calls, f"called {stage.file}")
        appears(stage.log, "fallbackcommand stop of tcp:10.20.0.100:80 exited", times=2)
        stage.stop()
        stage.exim.has(f"Purged real server (stop): {IT}")
        yield stage


def test_a_server_that_went_down_was_mailed_about(past: Stage) -> None:
    down = next(mail for mail in past.mails() if "Deleted real" in mail["Subject"])
    sender = f"root@{os.uname().nodename}"
    assert down["Subject"] == f"[Web shop] Deleted real server: {IT}"
    assert (down["From"], down["Return-path"]) == (sender, f"<{sender}>")
    assert down["To"] == "ops@example.org, nobody@example.org"
    assert down["Envelope-to"] == "ops@example.org"
    assert down.get_payload().rstrip("\n").splitlines() == [
        f"ldirectord host: {os.uname().nodename}",
        f"Log-Message: [Web shop] Deleted real server: {IT}",
        "Daemon-Status: running",
        "Reason: status 503",
        "",
        "Service name: Web shop",
        "Comment: Call Joe",
    ]


def test_each_phase_had_its_mails(past: Stage) -> None:
    said = {
        tuple(re.findall(r"Log-Message: \[Web shop] (\w+ \w+).*\nDaemon-Status: (\w+)", text)[0])
        for text in (mail.get_payload() for mail in past.mails())
    }
    assert said >= {
        ("Added fallback", "starting"),
        ("Added real", "starting"),
        ("Deleted fallback", "starting"),
        ("Deleted real", "running"),
        ("Added fallback", "running"),
        ("Inaccessible real", "running"),
        ("Added real", "running"),
        ("Purged real", "stopping"),
    }


def test_the_log_told_of_each_mail_and_of_the_address_that_is_none(past: Stage) -> None:
    said = past.log.read_text()
    assert f"emailalert: Deleted real server: {IT}\n" in said
    assert "could not be sent to nobody@example.org, it was refused: 550 no such user here" in said
    assert "emailalert: no mail" not in said


def test_each_probe_left_a_line(past: Stage) -> None:
    date = r"\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}]"
    name = rf"\[{past.daemon.pid}] negotiate http tcp 127\.0\.0\.11 8011 2 masq / "
    lines = past.monitor.read_text().splitlines()
    found = [re.fullmatch(rf"{date} {name} \[(up|down)] \S.*", line) for line in lines]
    assert all(found)
    assert {match[1] for match in found} == {"up", "down"}
    assert any(line.endswith("[down] status 503") for line in lines)


def test_the_fallbackcommand_was_told_each_turn(past: Stage) -> None:
    calls = [line for line in past.calls.read_text().splitlines() if "called --page" in line]
    turns = [line.removeprefix("called --page ") for line in calls]
    place = "10.20.0.100:80 tcp"
    assert turns[-2:] == [f"start {place}", f"stop {place}"]
    assert turns[:-2] in ([f"start {place}", f"stop {place}"], [f"stop {place}"])  # newest wins


def test_no_secret_left_the_daemon(past: Stage) -> None:
    written = [past.exim.box, past.monitor, past.log, past.calls, past.room / "exim/mainlog"]
    written += [path for path in (past.room / "run").rglob("*") if path.is_file()]
    for file in written:
        text = file.read_text(errors="replace")
        assert text, file
        assert MARKER not in text, file


def test_while_the_mail_server_is_away_checks_go_on_and_mails_wait() -> None:
    """Nobody listens at 127.0.0.8."""
    with staged() as stage:
        stage.start(smtp_host="127.0.0.8", to=["ops@example.org"])
        appears(stage.log, "emailalert: no mail to ops@example.org for now")
        seen = stage.monitor.read_text().count("\n")
        appears(stage.monitor, "\n", times=seen + 2)
        stage.stop()
        assert "could not be sent to ops@example.org, onevip ends" in stage.log.read_text()
