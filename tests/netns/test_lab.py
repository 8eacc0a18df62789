"""The lab itself: what it builds, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netns.clusters import prefix, serve, wait_for, weights
from onevip.lab import Cluster, LabError
from onevip.lab.cluster import ONEVIP, only_one
from onevip.lab.namespace import NAMESPACES, is_running
from onevip.namespace import RUN


def namespaces(of: str) -> list[str]:
    return [path.name for path in NAMESPACES.iterdir() if path.name.startswith(of)]


def processes_of(cluster: Cluster) -> list[int]:
    return [
        pid
        for name in namespaces(cluster.prefix)
        for pid in cluster.host(name.removeprefix(cluster.prefix)).pids()
    ]


def assert_gone(cluster: Cluster, pids: list[int]) -> None:
    assert namespaces(cluster.prefix) == []
    assert not cluster.directory.exists()
    assert not [pid for pid in pids if is_running(pid)]


def test_down_leaves_nothing_behind() -> None:
    with Cluster("gate", prefix()) as cluster:
        assert cluster.get("http://10.20.0.11/") == "this is real server 1"
        pids = processes_of(cluster)
        assert len(pids) >= 3
    assert_gone(cluster, pids)


def test_down_leaves_no_pins_and_no_files_about_its_namespaces() -> None:
    def kept() -> set[Path]:
        return {path for folder in (RUN, RUN / "bpf") for path in folder.glob("[0-9]*-*")}

    before = kept()
    with Cluster("ipip", prefix()) as cluster:
        serve(cluster)
        assert len(kept() - before) >= 3
    assert kept() - before == set()


def test_a_failure_while_building_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("gate", prefix())

    def fail(self: Cluster) -> None:
        raise LabError("planted")

    monkeypatch.setattr(Cluster, "_set_up_hosts", fail)
    with pytest.raises(LabError, match="planted"):
        cluster.up()
    assert_gone(cluster, [])


def test_what_a_killed_lab_left_is_taken_down_by_lab_down() -> None:
    cluster = Cluster("gate", prefix())
    subprocess.run(
        [*ONEVIP, "lab", "up", "--prefix", cluster.prefix], check=True, capture_output=True
    )
    pids = processes_of(cluster)
    assert len(pids) >= 4  # three times Apache, and the daemon
    down = [*ONEVIP, "lab", "down", "--prefix", cluster.prefix]
    subprocess.run(down, check=True, capture_output=True)
    assert_gone(cluster, pids)
    again = subprocess.run(down, check=True, capture_output=True, text=True)
    assert again.stdout == "There was no cluster.\n"


def test_what_lab_up_prints_can_be_followed() -> None:
    cluster = Cluster("gate", prefix())
    up = [*ONEVIP, "lab", "up", "--prefix", cluster.prefix]
    printed = subprocess.run(up, check=True, capture_output=True, text=True).stdout
    pids = processes_of(cluster)

    def follow(hint: str) -> None:
        (line,) = [line for line in printed.splitlines() if hint in line]
        command = line.partition("#")[0].removeprefix("The end:")
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)

    def weigh(weight: int) -> None:
        wait_for(lambda: weights(cluster) == {"rs1": weight, "rs2": 2}, f"weight {weight}", cluster)

    follow("curl")
    follow("Apache of real server 1 ends")
    weigh(0)
    follow("it starts again")
    weigh(2)
    follow("the daemon ends")
    follow("The end")
    assert_gone(cluster, pids)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_takes_its_cluster_down(sign: signal.Signals) -> None:
    cluster = Cluster("gate", prefix())
    demo = subprocess.Popen(
        [sys.executable, "-m", "onevip", "demo", "--method", "gate", "--prefix", cluster.prefix],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 10
    while not cluster.log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = processes_of(cluster)
    os.kill(demo.pid, sign)
    output = demo.communicate(timeout=20)[0].decode()
    assert demo.returncode != 0
    assert "Traceback" not in output
    assert output.endswith("\nInterrupted. Nothing is left.\n")
    assert_gone(cluster, pids)


def test_two_labs_of_one_prefix_do_not_fight() -> None:
    name = prefix()
    with (
        only_one(name),
        pytest.raises(LabError, match="another process"),
        only_one(name),
    ):
        pass
