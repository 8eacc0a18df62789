"""Pins of namespaces: kept while theirs lives, swept when it has gone, never another's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netns.clusters import prefix
from onevip.lab.namespace import ENVIRONMENT, LabError, Namespace

BPFFS = Path("/run/onevip/bpf")
ONEVIP = (sys.executable, "-m", "onevip")


@contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    host = Namespace(name)
    host.create()
    try:
        host.ip("link set lo up")
        yield host
    finally:
        host.remove()


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    start = prefix()
    with ExitStack() as stack:
        one, two = (stack.enter_context(namespace(f"{start}{name}")) for name in ("one", "two"))
        yield one, two
        for host in (one, two):
            host.run(*ONEVIP, "real", "stop", "--vip", "10.20.0.100")
            host.run(*ONEVIP, "detach", "--unload")


def identity(host: Namespace) -> str:
    program = "from onevip import namespace; print(namespace.identity())"
    return host.run(sys.executable, "-c", program).strip()


def add_service(host: Namespace) -> None:
    host.run(*ONEVIP, "ipvsadm", "-A", "-t", "10.20.0.100:80")


def test_a_director_that_is_also_a_real_server_keeps_both(
    hosts: tuple[Namespace, Namespace],
) -> None:
    one, two = hosts
    one.run(*ONEVIP, "real", "start", "--vip", "10.20.0.100", "--method", "ipip")
    two.run(*ONEVIP, "real", "start", "--vip", "10.20.0.100", "--method", "ipip")
    add_service(one)
    add_service(two)
    for host in hosts:
        host.run(*ONEVIP, "real", "status", "--vip", "10.20.0.100", "--method", "ipip")
        assert (BPFFS / identity(host)).is_dir()
        assert (BPFFS / f"{identity(host)}-real").is_dir()


def test_the_table_of_a_namespace_that_is_gone_is_swept_by_the_next_load(
    hosts: tuple[Namespace, Namespace],
) -> None:
    one, two = hosts
    add_service(one)
    one.run(*ONEVIP, "real", "start", "--vip", "10.20.0.101")
    gone = identity(one)
    subprocess.run(["ip", "netns", "del", one.name], check=True, env=ENVIRONMENT)
    assert (BPFFS / gone).is_dir()
    assert (BPFFS.parent / gone / "host.json").exists()
    add_service(two)
    assert not (BPFFS / gone).exists()
    assert not (BPFFS.parent / gone).exists()
    one.create()
    assert "10.20.0.100" not in one.run(*ONEVIP, "ipvsadm", "-Ln")


def test_what_a_killed_load_left_is_swept(hosts: tuple[Namespace, Namespace]) -> None:
    one, two = hosts
    add_service(one)
    unfinished = BPFFS / "1-1-new"
    (unfinished / "maps").mkdir(parents=True)
    add_service(two)
    assert not unfinished.exists()
    assert "10.20.0.100:80" in one.run(*ONEVIP, "ipvsadm", "-Ln")


@pytest.mark.parametrize(
    "command",
    [("ipvsadm", "-A", "-t", "10.20.0.100:80"), ("ipvsadm", "-Ln"), ("attach", "lo"), ("detach",)],
)
def test_a_user_without_rights_is_told_in_one_sentence(
    hosts: tuple[Namespace, Namespace], command: tuple[str, ...]
) -> None:
    one, _ = hosts
    add_service(one)
    # Imports everything as root, for root's interpreter may lie where nobody else can read.
    program = (
        "import os, sys; from onevip.command.main import main\n"
        "main(['ipvsadm', '-Ln']); main(['attach', '--show']); main(['attach', 'lo'])\n"
        "os.setegid(65534); os.seteuid(65534); sys.exit(main(sys.argv[1:]))"
    )
    inside = ["ip", "netns", "exec", one.name, sys.executable, "-c", program]
    done = subprocess.run(
        [*inside, *command], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    assert "run as root" in done.stderr


def test_an_interface_that_is_not_there_loads_nothing(hosts: tuple[Namespace, Namespace]) -> None:
    one, _ = hosts
    with pytest.raises(LabError, match="no interface eth99 in this network namespace"):
        one.run(*ONEVIP, "attach", "eth99")
    assert not (BPFFS / identity(one)).exists()


def test_what_others_keep_in_our_bpffs_is_left_alone(
    hosts: tuple[Namespace, Namespace],
) -> None:
    """iproute2 makes `tc` and links to it in the first bpffs that it finds."""
    add_service(hosts[0])
    theirs = BPFFS / "onevip-test-theirs"
    link = BPFFS / "onevip-test-link"
    theirs.mkdir(exist_ok=True)
    try:
        link.symlink_to(theirs)
        add_service(hosts[1])
        assert theirs.is_dir()
        assert link.is_symlink()
    finally:
        link.unlink(missing_ok=True)
        theirs.rmdir()
