"""`onevip`: finding commands, and errors as one sentence with an exit status."""

from __future__ import annotations

import errno
import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from onevip import __version__
from onevip.command import main as entry
from onevip.command.main import COMMANDS, main
from onevip.model import HostError, UsageError


@pytest.fixture
def lab(monkeypatch):
    """Puts a function in the place of `onevip lab`."""

    def put(function):
        module = SimpleNamespace(command=function)
        monkeypatch.setattr(importlib, "import_module", lambda name: {"onevip.lab": module}[name])

    return put


@pytest.fixture
def output_stays(monkeypatch):
    """The test's own standard output is not given up."""
    monkeypatch.setattr(entry.os, "dup2", lambda _, to: None)


def raising(error):
    def command(argv):
        raise error

    return command


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"onevip {__version__}\n"


def test_without_a_command_the_help_goes_to_stderr(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: onevip COMMAND")


def test_an_unknown_command_is_one_sentence(capsys):
    assert main(["raun"]) == 2
    assert capsys.readouterr().err == "onevip: there is no command 'raun': see onevip --help\n"


def test_arguments_and_status_pass_through(lab):
    lab(lambda argv: {("up", "-q"): 7}[tuple(argv)])
    assert main(["lab", "up", "-q"]) == 7


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HostError("no interface eth9"), 1, "onevip: no interface eth9\n"),
        (UsageError("--vip is missing"), 2, "onevip: --vip is missing\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            PermissionError(errno.EACCES, "Permission denied", "/run/onevip/lab"),
            1,
            "onevip: /run/onevip/lab: permission denied: run as root\n",
        ),
        (OSError(errno.ENOSPC, "No space left"), 1, "onevip: no space left on device\n"),
        (OSError("odd"), 1, "onevip: odd\n"),
    ],
)
@pytest.mark.usefixtures("output_stays")
def test_an_error_is_one_sentence(lab, capsys, error, status, said):
    lab(raising(error))
    assert main(["lab"]) == status
    assert capsys.readouterr().err == said


def test_a_reader_that_went_away_is_no_error(lab, capsys, monkeypatch):
    lab(raising(BrokenPipeError()))
    replaced = []
    monkeypatch.setattr(entry.os, "dup2", lambda _, to: replaced.append(to))
    assert main(["lab"]) == 141
    assert replaced == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_program_whose_streams_are_closed_works(closed):
    """And no file that it opens gets the number of one of them."""
    program = f"exec {sys.executable} -m onevip --version {closed}"
    assert subprocess.run(["sh", "-c", program], check=False, capture_output=True).returncode == 0


def test_an_output_that_takes_nothing_is_one_sentence():
    program = f"exec {sys.executable} -m onevip --version > /dev/full"
    ended = subprocess.run(["sh", "-c", program], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "onevip: no space left on device\n")


def test_a_link_named_ipvsadm_is_ipvsadm(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/sbin/ipvsadm", "-v"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ipvsadm v1.31")


@pytest.mark.parametrize("link", ["/usr/sbin/ldirectord", "/etc/ha.d/resource.d/ldirectord"])
def test_a_link_named_ldirectord_is_ldirectord(monkeypatch, capsys, link):
    monkeypatch.setattr(sys, "argv", [link, "-v"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("Linux Director v1.186-ha")


def test_the_program_otherwise_is_onevip(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/onevip", "ipvsadm", "-v"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ipvsadm v1.31")
