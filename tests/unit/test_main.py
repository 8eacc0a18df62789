"""`onevip`: finding commands, and errors as one sentence with an exit status."""

from __future__ import annotations

import importlib
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
    ],
)
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


def test_a_link_named_ipvsadm_is_ipvsadm(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/sbin/ipvsadm", "-v"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ipvsadm v1.31")


def test_the_program_otherwise_is_onevip(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/onevip", "ipvsadm", "-v"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ipvsadm v1.31")
