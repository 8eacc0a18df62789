"""`onevip check`: errors with a caret, what is missing, what is understood."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from onevip.command import check
from onevip.command.environment import Environment
from onevip.model import UsageError

BROKEN = """\
quiescent=maybe
virtual=10.0.0.1:80
\treal=10.0.0.2:80 gaet
\tschedular=rr
\tpasswd=hunter2
"""
GOOD = """\
autoreload=yes
maintenancedir=/
emailalert=a@x.test
emailalertstatus=running
smtp=mail.x.test
virtual=10.0.0.1:80
\treal=10.0.0.2:80 gate 2 l:1 u:9
\treal=10.0.0.3:8080 masq 1 "alive","(yes|no)"
\tfallback=127.0.0.1
\tvirtualhost=www.x.test
\tpersistent=60
\tnetmask=255.255.255.0
\tscheduler=sh
\tschedflags=sh-port
\tfailurecount=3
\trisecount=2
\tcheckjitter=10
\tquiescent=yes
virtual=10.0.0.1:1812
\treal=10.0.0.2:1812 masq
\tprotocol=udp
\tlogin="ann"
\tpasswd="hunter2"
\tsecret="hunter2"
"""

PERIOD = (
    " for www.x.test, every 10 s ± 10 %, limit 30 s, down after 3 failures, up after 2 successes"
)
HIDDEN = "password ***, secret ***, every 10 s, limit 30 s"


def run(*argv: str) -> tuple[int, str]:
    out = io.StringIO()
    status = check.main(list(argv), Environment(stdout=out, stderr=out))
    return status, out.getvalue()


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "lb.cf"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(0o600)
        return str(path)

    return write


def test_every_error_is_shown_with_its_line_and_a_caret(write):
    file = write(BROKEN)
    status, said = run(file)
    assert status == 1
    assert said.splitlines() == [
        f"{file}:1:11: error: quiescent must be 'yes' or 'no'",
        "    quiescent=maybe",
        "              ^^^^^",
        f"{file}:3:19: error: forward method must be gate, masq or ipip",
        "    \treal=10.0.0.2:80 gaet",
        "    \t                 ^^^^",
        '    did you mean "gate"?',
        f'{file}:4:2: error: Unknown command "\tschedular=rr"',
        "    \tschedular=rr",
        "    \t^^^^^^^^^^^^",
        '    did you mean "scheduler"?',
        f'{file}:5:2: error: Unknown command "\tpasswd=***"',
        "    \tpasswd=***",
        "    \t^^^^^^^^^^",
        "    quote the value",
        f"{file}: 4 errors, the file cannot be used",
    ]


def test_a_good_file_is_explained(write):
    status, said = run(write(GOOD))
    assert status == 0
    lines = said.splitlines()
    (sentence,) = [line for line in lines if ": missing:" in line]
    assert "cannot check service=radius yet: the real servers of udp 10.0.0.1:1812" in sentence
    for line in (
        "  autoreload: the file is read again when it changes",
        "  maintenancedir: /",
        "tcp 10.0.0.1:80, scheduler sh (sh-port), persistent 60 s by netmask 255.255.255.0, line 6",
        f"  10.0.0.2:80 gate weight 2, 1..9 connections: http GET / on port 80{PERIOD}",
        "  fallback 127.0.0.1:80 gate weight 1, when none of them is up",
        "  a server that is down keeps its place with weight 0",
        "  mail to a@x.test by mail.x.test while running",
        f"  10.0.0.2:1812 masq weight 1: radius on port 1812, login ann, {HIDDEN}",
    ):
        assert line in lines
    assert "hunter2" not in said


def test_a_warning_is_shown_and_is_no_error(write):
    file = write("virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate heavy u:9\n")
    status, said = run(file)
    assert status == 0
    assert said.splitlines()[:3] == [
        f"{file}:2:24: warning: 'heavy' before u:9 means nothing and is ignored",
        "    \treal=10.0.0.2:80 gate heavy u:9",
        "    \t                      ^^^^^",
    ]


def test_json_says_the_same_and_hides_the_same(write):
    status, said = run("--json", write(GOOD))
    answer = json.loads(said)
    assert (status, answer["good"], answer["version"], answer["errors"]) == (0, True, 1, [])
    service = answer["configuration"]["services"][1]
    assert service["key"] == {"protocol": "udp", "address": "10.0.0.1", "port": 1812, "mark": 0}
    found = service["real_servers"][0]["check"]
    assert (found["type"], found["passwd"], found["database"]) == ("negotiate", "***", "")
    assert answer["configuration"]["mail"]["phases"] == ["running"]
    assert "hunter2" not in said
    status, said = run("--json", write(BROKEN))
    answer = json.loads(said)
    assert (status, answer["good"], answer["configuration"]) == (1, False, None)
    assert answer["errors"][1] == {
        "line": 3,
        "column": 19,
        "text": "gaet",
        "message": "forward method must be gate, masq or ipip",
        "hint": 'did you mean "gate"?',
        "known_to_ldirectord": True,
    }
    assert "hunter2" not in said


def test_what_is_no_text_is_shown_as_well_as_can_be(write):
    status, said = run(write("quiescent=\udcff\udcfe\n"))
    assert status == 1
    assert "    quiescent=��" in said.splitlines()


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    status, said = run(str(tmp_path / "none.cf"))
    assert status == 1
    assert f"{tmp_path}/none.cf: error: cannot be read: No such file or directory" in said


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["--json"]])
def test_it_takes_one_file(argv):
    with pytest.raises(UsageError, match="check takes one file"):
        run(*argv)


def test_help_is_help():
    assert run("--help") == (0, check.USAGE)
