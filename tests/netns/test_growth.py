"""The connection table grows under traffic, with the daemon and without: no request fails."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netns.clusters import kill_daemon, serve, wait_for
from netns.conftest import Build
from netns.wrk import load
from onevip.lab import Cluster
from onevip.lab.cluster import MACS, VIP

FLOOD = Path(__file__).with_name("flood.py")
PORT = 9
UDP_SERVICE = ("-u", f"{VIP}:{PORT}")
FIRST_SLOTS = 131_072
FULL = 39_321  # three tenths of them
AT_MOST_S = 60

#: As if the minutes had passed after which connections end.
END_ALL = """
from onevip.engines.bpf import loader
settings = loader.find().settings
units = loader.clock_units(1, settings.get(0, "hz"))
settings.set(0, "udp_timeout", units)
settings.set_many(0, "tcp_timeout", (units,) * 16)
"""


@pytest.fixture(scope="module")
def built(build: Build) -> Cluster:
    return build("gate")


@pytest.fixture
def gate(built: Cluster) -> Iterator[Cluster]:
    """Loaded anew: a daemon, and a UDP service that is not the daemon's."""
    serve(built)
    built.onevip("director", "ipvsadm", "-A", *UDP_SERVICE)
    built.onevip("director", "ipvsadm", "-a", *UDP_SERVICE, "-r", f"10.20.0.11:{PORT}")
    yield built
    built.stop_daemon()
    built.onevip("director", "detach", "--unload")


def flood(cluster: Cluster, count: int, first: int = 0) -> None:
    """Opens connections; twice the same, for a frame may be lost."""
    words = (MACS["director"], VIP, str(PORT), str(first), str(count))
    for _ in range(2):
        cluster.client.run(sys.executable, str(FLOOD), *words)


def room(cluster: Cluster) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cluster.onevip("director", "connections", "--room", "--json"))
    return told


def slots(cluster: Cluster) -> list[int]:
    """Of each table, the one for new connections first."""
    return [table["slots"] for table in room(cluster)["tables"]]


def live(cluster: Cluster) -> list[int]:
    return [table["live"] for table in room(cluster)["tables"]]


def assert_nobody_was_refused(cluster: Cluster) -> None:
    told = room(cluster)
    assert told["refused"] == {"table_full": 0, "table_busy": 0}
    assert told["evicted"] == {"inactive": 0, "half_open": 0}


def assert_the_old_table_goes(cluster: Cluster) -> None:
    new, _ = slots(cluster)
    cluster.director.run(sys.executable, "-c", END_ALL)
    wait_for(lambda: slots(cluster) == [new], "the end of the old table", cluster)


def test_the_table_grows_and_the_old_one_goes_while_requests_go_on(gate: Cluster) -> None:
    with load(gate, AT_MOST_S, "-H", "Connection: keep-alive", to_the_end=False) as seen:
        time.sleep(0.5)
        assert slots(gate) == [FIRST_SLOTS]
        flood(gate, 50_000)
        wait_for(lambda: slots(gate) == [2 << 20, FIRST_SLOTS], "growth", gate)
        flood(gate, 5_000, first=50_000)
        wait_for(lambda: sum(live(gate)) >= 55_000, "all of them", gate)
        assert live(gate)[0] >= 5_000
        time.sleep(0.5)
    assert seen.errors == [], seen.report
    assert seen.requests > 1000, seen.report
    assert_nobody_was_refused(gate)
    new, old = gate.onevip("director", "connections", "--room").splitlines()[1:3]
    assert new.split()[:2] == ["new", "2,097,152"]
    assert old.split()[:2] == ["old", "131,072"]
    said = [line for line in gate.log.read_text().splitlines() if "new connections go to" in line]
    assert len(said) == 1
    assert "a table of 2,097,152 slots (128 MiB)" in said[0]
    assert "are still in the old one of 131,072" in said[0]
    assert_the_old_table_goes(gate)


def test_without_a_daemon_the_next_edit_makes_it_grow_to_its_limit(gate: Cluster) -> None:
    gate.onevip("director", "connections", "--limit", "200000")
    kill_daemon(gate)
    with load(gate, AT_MOST_S, "-H", "Connection: keep-alive", to_the_end=False) as seen:
        time.sleep(0.5)
        flood(gate, 50_000)
        wait_for(lambda: live(gate)[0] > FULL, "a full table", gate)
        assert slots(gate) == [FIRST_SLOTS], "nobody looks"
        edit = ("-e", *UDP_SERVICE, "-r", f"10.20.0.11:{PORT}", "-w", "2")
        gate.onevip("director", "ipvsadm", *edit)
        assert slots(gate) == [524_288, FIRST_SLOTS]
        flood(gate, 5_000, first=50_000)
        wait_for(lambda: sum(live(gate)) >= 55_000, "all of them", gate)
        gate.start_daemon()
    assert seen.errors == [], seen.report
    assert seen.requests > 1000, seen.report
    assert_nobody_was_refused(gate)
    assert room(gate)["limit"] == 200_000
    assert_the_old_table_goes(gate)
