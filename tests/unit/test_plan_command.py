"""`onevip plan`: the way from the table as it is to the one that a file wants; nothing is done."""

from __future__ import annotations

import io
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip import namespace
from onevip.command import plan
from onevip.command.environment import Environment
from onevip.command.ipvsadm import main as ipvsadm
from onevip.daemon.ownership import Ownership
from onevip.engines.memory import MemoryEngine
from onevip.model import (
    AddRealServer,
    AddService,
    ConfigError,
    Protocol,
    RealServer,
    ServiceKey,
    UsageError,
)

FILE = """\
virtual=10.0.0.1:80
\treal=10.0.0.2:80 gate 2
\treal=10.0.0.3:80 masq
\tfallback=127.0.0.1
"""
WEB = ServiceKey(Protocol.TCP, IPv4Address("10.0.0.1"), 80)
OTHER = ServiceKey(Protocol.TCP, IPv4Address("10.0.0.9"), 80)
OLD = RealServer(IPv4Address("10.0.0.8"), 80)


class Here:
    """A file, a table, and a directory of daemons."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "lb.cf"
        self.file.write_text(FILE)
        self.engine = MemoryEngine()
        self.state = directory / "run"
        self.out = io.StringIO()

    def environment(self) -> Environment:
        self.out = io.StringIO()
        return Environment(
            stdout=self.out, engine=lambda: self.engine, state_directory=str(self.state)
        )

    def plan(self, *options: str) -> tuple[int, list[str]]:
        before = self.engine.read()
        status = plan.main([*options, str(self.file)], self.environment())
        assert self.engine.read() == before
        return status, self.out.getvalue().splitlines()

    def ipvsadm(self, line: str) -> None:
        assert ipvsadm(line.split()[1:], self.environment()) == 0


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_an_empty_table_is_filled(here):
    status, said = here.plan()
    assert status == plan.DIFFERENT
    assert [line for line in said if line.startswith("ipvsadm ")] == [
        "ipvsadm -A -t 10.0.0.1:80 -s wrr",
        "ipvsadm -a -t 10.0.0.1:80 -x 0 -y 0 -r 10.0.0.2:80 -g -w 2",
        "ipvsadm -a -t 10.0.0.1:80 -x 0 -y 0 -r 10.0.0.3:80 -m -w 1",
    ]
    assert "    real server 10.0.0.2:80 of tcp 10.0.0.1:80: added with weight 2" in said
    assert said[-1] == "3 changes with every real server up; nothing was done"


def test_what_it_prints_leads_there(here):
    for options in ((), ("--down",)):
        _, said = here.plan(*options)
        for line in said:
            if line.startswith("ipvsadm "):
                here.ipvsadm(line)
        state = "no real server" if options else "every real server"
        assert here.plan(*options) == (0, [f"the table is what {here.file} wants with {state} up"])


def test_with_no_server_up_the_fallback_serves(here):
    _, said = here.plan("--down")
    assert "ipvsadm -a -t 10.0.0.1:80 -x 0 -y 0 -r 127.0.0.1:80 -g -w 1" in said
    assert "    fallback server 127.0.0.1:80 of tcp 10.0.0.1:80: added with weight 1" in said


def test_only_what_differs_is_named(here):
    here.ipvsadm("ipvsadm -A -t 10.0.0.1:80 -s rr")
    here.ipvsadm("ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1")
    here.ipvsadm("ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.7:80 -g")
    _, said = here.plan()
    assert said == [
        "ipvsadm -E -t 10.0.0.1:80 -s wrr",
        "    virtual service tcp 10.0.0.1:80: scheduler rr -> wrr",
        "ipvsadm -e -t 10.0.0.1:80 -x 0 -y 0 -r 10.0.0.2:80 -g -w 2",
        "    real server 10.0.0.2:80 of tcp 10.0.0.1:80: weight 1 -> 2",
        "ipvsadm -a -t 10.0.0.1:80 -x 0 -y 0 -r 10.0.0.3:80 -m -w 1",
        "    real server 10.0.0.3:80 of tcp 10.0.0.1:80: added with weight 1",
        "ipvsadm -d -t 10.0.0.1:80 -r 10.0.0.7:80",
        "    real server 10.0.0.7:80 of tcp 10.0.0.1:80: removed, weight was 1",
        "4 changes with every real server up; nothing was done",
    ]


def test_services_of_others_are_left_out_and_its_own_former_ones_not(here):
    here.engine.apply([AddService(OTHER, "rr"), AddRealServer(OTHER, OLD)])
    assert not any("10.0.0.9" in line for line in here.plan()[1])
    ownership = Ownership(here.state / namespace.identity(), str(here.file))
    ownership.acquire()
    ownership.claim([WEB, OTHER])
    assert "ipvsadm -D -t 10.0.0.9:80" in here.plan()[1]
    ownership.release()


def test_a_server_that_is_never_probed_stays_as_it_is(here):
    here.file.write_text("virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate 2\n\tchecktype=off\n")
    here.ipvsadm("ipvsadm -A -t 10.0.0.1:80 -s wrr")
    assert here.plan()[0] == 0
    here.ipvsadm("ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 2")
    assert here.plan("--down")[0] == 0


def test_a_broken_file_is_an_error(here):
    here.file.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="Unknown command nonsense"):
        here.plan()


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["--up", "a"], ["--up"]])
def test_it_takes_one_file(argv):
    with pytest.raises(UsageError, match="plan takes one file"):
        plan.main(argv)


def test_help_is_help(here):
    environment = here.environment()
    assert plan.main(["-h"], environment) == 0
    assert here.out.getvalue() == plan.USAGE
