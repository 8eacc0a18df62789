"""What hands do to the table of a living daemon, with the real engine; daemons side by side."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.clusters import kill_daemon, prefix, serve, wait_for, weights
from onevip.lab import Cluster
from onevip.lab.cluster import LDIRECTORD_CF, ONEVIP, PAGES, VIP
from onevip.lab.namespace import LabError

BY_HAND = ("-e", "-t", f"{VIP}:80", "-r", "10.20.0.11:80", "-g", "-w", "0")
ASK = b'{"version": 1, "command": "status"}\n'
WORDS = "weight 0 set by hand, 2 configured"
OTHER = f"""\
virtual={VIP}:81
        real=10.20.0.11:8080 masq 3
        checktype=on
        cleanstop=no
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster("gate", prefix()) as cluster:
        serve(cluster)
        yield cluster


@pytest.fixture
def gate(shared: Cluster) -> Iterator[Cluster]:
    """With a daemon that runs and real servers that have weight, before and after."""
    yield shared
    wait_for(lambda: weights(shared) == {"rs1": 2, "rs2": 2}, "both servers", shared)


def status(cluster: Cluster, *argv: str) -> str:
    """What `onevip status` prints; nothing while no daemon answers."""
    try:
        return cluster.onevip("director", "status", *argv)
    except LabError:
        return ""


def both_checked(cluster: Cluster) -> bool:
    return status(cluster).count("up for") == 2


def test_a_weight_set_by_hand_outlives_daemons_until_the_next_verdict(gate: Cluster) -> None:
    gate.onevip("director", "ipvsadm", *BY_HAND)
    assert WORDS in status(gate)
    kill_daemon(gate)
    gate.start_daemon()
    wait_for(lambda: both_checked(gate), "verdicts after a kill", gate)
    assert weights(gate) == {"rs1": 0, "rs2": 2}
    assert WORDS in status(gate)
    gate.stop_daemon()
    assert weights(gate) == {}
    gate.start_daemon()
    wait_for(lambda: both_checked(gate), "verdicts after a stop", gate)
    assert weights(gate) == {"rs1": 0, "rs2": 2}
    assert {gate.get() for _ in range(4)} == {PAGES["rs2"]}
    gate.web_servers["rs1"].stop()
    wait_for(lambda: "down for" in status(gate), "the other verdict", gate)
    gate.web_servers["rs1"].start()
    wait_for(lambda: weights(gate) == {"rs1": 2, "rs2": 2}, "the weight", gate)
    assert "by hand" not in status(gate)


def test_a_table_that_somebody_cleared_is_told_and_comes_back_with_a_verdict(gate: Cluster) -> None:
    gate.onevip("director", "ipvsadm", "-C")
    assert "deleted by hand: comes back" in status(gate)
    gate.web_servers["rs2"].stop()
    wait_for(lambda: weights(gate) == {"rs1": 2, "rs2": 0}, "the service", gate)
    assert "by hand" not in status(gate)
    gate.web_servers["rs2"].start()


def test_two_daemons_side_by_side_and_a_service_of_nobodys(gate: Cluster) -> None:
    foreign = ("-t", f"{VIP}:9")
    gate.onevip("director", "ipvsadm", "-A", *foreign, "-s", "rr")
    gate.onevip("director", "ipvsadm", "-a", *foreign, "-r", "10.20.0.12:9", "-m", "-w", "7")
    second = gate.directory / "other.cf"
    second.write_text(OTHER)
    log = gate.directory / "other.log"
    with log.open("wb") as output:
        other = gate.director.start(*ONEVIP, "run", str(second), output=output)
    try:
        wait_for(lambda: status(gate).count("running, pid") == 2, "both", gate)
        assert "10.20.0.11:8080  up for" in status(gate, str(second))
        kill_daemon(gate)
        wait_for(lambda: _shared_answers(gate, str(second)), "the shared socket", gate)
        gate.start_daemon()
        wait_for(lambda: status(gate).count("running, pid") == 2, "both again", gate)
    finally:
        other.terminate()
        other.wait(10)
    assert f"{VIP}:81" in gate.onevip("director", "ipvsadm", "-L", "-n")
    assert "10.20.0.12:9                 Masq    7" in gate.onevip("director", "ipvsadm", "-Ln")
    assert weights(gate) == {"rs1": 2, "rs2": 2}


def _shared_answers(cluster: Cluster, file: str) -> bool:
    """Whether the daemon of this file answers as control.sock."""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(_run(cluster) / "control.sock"))
            asking.sendall(ASK)
            answer = json.loads(asking.makefile().readline())
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return answer["status"]["file"] == file


def _run(cluster: Cluster) -> Path:
    """Where the cluster's daemons keep their files. Inodes alone are used again."""
    said = "from onevip import namespace; print(namespace.run_directory())"
    return Path(cluster.director.run(sys.executable, "-c", said).strip())


def test_a_hostile_peer_delays_no_check(gate: Cluster) -> None:
    path = str(_run(gate) / "control.sock")
    peers = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        for number, peer in enumerate(peers):
            peer.connect(path)
            peer.setblocking(False)
            said = (
                b"\xff" * 100_000 if number % 2 else b'{"version": 1, "command": "status"}\n' * 50
            )
            try:
                peer.send(said)
            except OSError:
                continue
        gate.web_servers["rs1"].stop()
        wait_for(lambda: weights(gate) == {"rs1": 0, "rs2": 2}, "the verdict", gate)
    finally:
        for peer in peers:
            peer.close()
    wait_for(lambda: "down for" in status(gate), "an answer afterwards", gate)
    assert gate.daemon is not None
    assert gate.daemon.poll() is None
    gate.web_servers["rs1"].start()


def test_a_broken_file_is_shown_and_changes_nothing(gate: Cluster) -> None:
    gate.file.write_text(LDIRECTORD_CF.format(quiescent="yes", method="gat", check_path=""))
    assert gate.daemon is not None
    os.kill(gate.daemon.pid, signal.SIGHUP)
    wait_for(lambda: "not reloaded" in status(gate), "the broken file", gate)
    assert "forward method must be gate, masq or ipip" in status(gate)
    assert weights(gate) == {"rs1": 2, "rs2": 2}
    gate.write_file()
    wait_for(lambda: "  reloaded" in status(gate), "the mended file", gate)  # autoreload


def test_nobody_but_root_gets_in(gate: Cluster) -> None:
    script = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    stranger = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            sys.executable,
            "-c",
            script,
            str(_run(gate) / "control.sock"),
        ],
        capture_output=True,
        check=False,
    )
    assert b"PermissionError" in stranger.stderr
