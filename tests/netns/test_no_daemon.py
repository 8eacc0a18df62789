"""The daemon is killed, started again and reloaded under load: no request fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from netns.clusters import door_counters, kill_daemon, prefix, serve, wait_for, weights
from netns.wrk import load
from onevip.lab import Cluster
from onevip.lab.cluster import MACS, PAGES, REAL_SERVERS, VIP

LOAD_S = 10
MOVED = "06:00:00:00:00:12"


@pytest.fixture
def gate() -> Iterator[Cluster]:
    """A cluster for one test: connections of another's load would still be remembered."""
    with Cluster("gate", prefix()) as cluster:
        serve(cluster)
        yield cluster


@pytest.mark.parametrize("header", ["Connection: keep-alive", "Connection: close"])
def test_kill_restart_and_reload_of_the_daemon_lose_no_request(gate: Cluster, header: str) -> None:
    before = door_counters(gate)["tc"].get("gate", 0)
    with load(gate, LOAD_S, "-H", header) as seen:
        time.sleep(2)
        kill_daemon(gate)
        assert weights(gate) == {"rs1": 2, "rs2": 2}
        time.sleep(2)
        gate.start_daemon()
        time.sleep(2)
        assert gate.daemon is not None
        os.kill(gate.daemon.pid, signal.SIGHUP)
        time.sleep(1)
        assert weights(gate) == {"rs1": 2, "rs2": 2}
    assert seen.errors == [], seen.report
    assert seen.requests > 1000, seen.report
    # The client's packets of each request alone: one at least, SYN, ACK, request and FIN if closed.
    per_request = 4 if "close" in header else 1
    passed = door_counters(gate)["tc"]["gate"] - before
    assert passed >= per_request * seen.requests


def test_ipvsadm_answers_and_edits_without_a_daemon(gate: Cluster) -> None:
    kill_daemon(gate)
    edit = ("-e", "-t", f"{VIP}:80", "-r", "10.20.0.11:80", "-g", "-w", "0")
    gate.onevip("director", "ipvsadm", *edit)
    assert weights(gate) == {"rs1": 0, "rs2": 2}
    assert {gate.get() for _ in range(4)} == {PAGES["rs2"]}
    gate.start_daemon()
    gate.web_servers["rs1"].stop()
    wait_for(lambda: "is down" in gate.log.read_text(), "a verdict", gate)
    gate.web_servers["rs1"].start()
    wait_for(lambda: weights(gate) == {"rs1": 2, "rs2": 2}, "the next verdict", gate)


@pytest.mark.parametrize("door", ["tc", "xdp"])
def test_traffic_follows_a_real_server_whose_mac_changes_without_a_daemon(door: str) -> None:
    with Cluster("gate", prefix(), door) as gate:
        serve(gate)
        if door == "xdp":
            gate.attach_xdp()
        assert {gate.get() for _ in range(4)} == set(PAGES.values())
        kill_daemon(gate)
        for name in REAL_SERVERS:
            real = gate.host(name)
            real.sysctl({"ipv4/conf/eth0/arp_notify": 1})
            real.ip(f"link set eth0 address {MACS[name].replace('02:', '06:', 1)}")
        wait_for(lambda: MOVED in gate.director.run("ip", "neigh"), "the new MAC", gate)
        time.sleep(1.5)  # xdp looks at the way to a real server once a second
        assert {gate.get() for _ in range(4)} == set(PAGES.values())
        assert door_counters(gate)[door]["gate"] >= 40


def test_a_new_interface_gets_its_door_from_the_daemon(gate: Cluster) -> None:
    gate.director.ip("link add later0 type veth peer name later1", "link set later0 up")

    def doors() -> dict[str, str]:
        shown = gate.onevip("director", "attach", "--show").splitlines()
        return {line.split()[0]: line.split()[1] for line in shown if line.startswith("later")}

    wait_for(lambda: doors() == {"later0": "tc", "later1": "tc"}, "doors", gate)
    gate.director.ip("link del later0")
    assert doors() == {}


def test_xdp_falls_back_with_the_reason(gate: Cluster) -> None:
    said = gate.onevip("director", "attach", "lo", "--door", "xdp")
    assert said == "lo: tc, because xdp on lo: this interface has no driver for it\n"
    gate.director.ip("link add br9 type bridge")
    said = gate.onevip("director", "attach", "br9", "--door", "xdp")
    assert said.startswith("br9: tc, because xdp on br9: its driver has no native XDP")
