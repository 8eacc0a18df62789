"""The estimator at work: rates of real traffic, with no daemon, as `ipvsadm -Ln --rate` shows them.

How fast this machine is does not matter: what was sent is read from the counters while it is sent,
and the kernel's rule (spec ipvs 7), worked out from that, says what should have been shown.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO

import pytest

from netns.clusters import PATIENCE, prefix, wait_for
from netns.six_servers import inside
from onevip.command import ipvsadm, sysctl
from onevip.command.environment import Environment
from onevip.lab import Cluster
from onevip.lab.cluster import REAL_SERVERS, VIP

PORT, PAYLOAD, A_SECOND = 7000, 100, 100
IP_BYTES = 20 + 8 + PAYLOAD
TRAFFIC_S, SILENCE_S, PERIOD_S = 8.0, 4.0, 2.0
REAL, SERVICE = f"{REAL_SERVERS['rs1']}:{PORT}", f"{VIP}:{PORT}"

#: Answers each datagram with its own bytes.
ECHO = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("", {PORT}))
    print("ready", flush=True)
    while True:
        data, client = server.recvfrom(2000)
        server.sendto(data, client)
"""

#: Datagrams at a steady pace, each from a port of its own: each is a connection.
FLOW = f"""
import collections, socket, sys, time
begin, sent, open_ones = time.monotonic(), 0, collections.deque(maxlen=300)
while (since := time.monotonic() - begin) < float(sys.argv[1]):
    while sent < since * {A_SECOND}:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("", int(sys.argv[2]) + sent))
        one.sendto(bytes({PAYLOAD}), ("{VIP}", {PORT}))
        open_ones.append(one)
        sent += 1
    time.sleep(0.01)
"""


@dataclass(frozen=True)
class Look:
    """What was shown at one moment: Conns, InPkts, OutPkts, InBytes, OutBytes, and their rates."""

    at: float
    totals: list[int]
    real: list[int]
    service: list[int]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """masq, so that replies pass by; one real server that answers. `ipvsadm` alone."""
    with Cluster("masq", prefix()) as built:
        rs1 = built.host("rs1")
        with rs1.start(sys.executable, "-c", ECHO, output=subprocess.PIPE) as echo:
            assert echo.stdout is not None
            assert echo.stdout.readline() == b"ready\n"
            onevip_ipvsadm(built, f"-A -u {SERVICE} -s rr")
            onevip_ipvsadm(built, f"-a -u {SERVICE} -r {REAL} -m")
            yield built
            echo.terminate()


@contextmanager
def flow(cluster: Cluster, seconds: float, first_port: int) -> Iterator[None]:
    """Meanwhile datagrams are sent; the rest of the block waits for the end of them."""
    command = (sys.executable, "-c", FLOW, str(seconds), str(first_port))
    with cluster.client.start(*command, output=subprocess.DEVNULL) as sender:
        yield
        assert sender.wait(seconds + 10 * PATIENCE) == 0


def onevip_ipvsadm(cluster: Cluster, line: str) -> str:
    """As the command does, but in this process, which takes no second to start."""
    environment = Environment(stdout=StringIO())
    with inside(cluster.director):
        assert ipvsadm.main(line.split(), environment) == 0
    return environment.stdout.getvalue()  # type: ignore[attr-defined]


def shown(cluster: Cluster, what: str) -> dict[str, list[int]]:
    """The five columns of `ipvsadm -Ln --stats` or `--rate`, of the service and the server."""
    rows = {}
    for line in onevip_ipvsadm(cluster, f"-Ln {what} --exact").splitlines():
        words = line.split()
        if words[1:2] in ([REAL], [SERVICE]):
            rows[words[1]] = [int(word) for word in words[2:]]
    return rows


def look(cluster: Cluster) -> Look:
    rates = shown(cluster, "--rate")
    at = time.monotonic()
    return Look(at, shown(cluster, "--stats")[REAL], rates[REAL], rates[SERVICE])


def looks_for(cluster: Cluster, seconds: float) -> list[Look]:
    """Ten a second, if this machine lets us."""
    end, seen = time.monotonic() + seconds, [look(cluster)]
    while seen[-1].at < end:
        time.sleep(0.1)
        seen.append(look(cluster))
    return seen


def total_at(looks: list[Look], column: int, at: float) -> float:
    """Between two looks, in proportion."""
    for before, after in itertools.pairwise(looks):
        if before.at <= at <= after.at:
            share = (at - before.at) / (after.at - before.at)
            low, high = before.totals[column], after.totals[column]
            return low + share * (high - low)
    return looks[0].totals[column] if at < looks[0].at else looks[-1].totals[column]


def rule(looks: list[Look], column: int, phase: float, at: float) -> float:
    """The kernel's: each two seconds a quarter of the way to what these two seconds had."""
    rate, last, moment = 0.0, float(looks[0].totals[column]), looks[0].at + phase
    while moment <= at:
        now = total_at(looks, column, moment)
        rate += ((now - last) / PERIOD_S - rate) / 4
        last, moment = now, moment + PERIOD_S
    return rate


def follows_the_rule(looks: list[Look], column: int, phase: float) -> bool:
    """All that was shown, if the estimator came by at that phase; a look takes its time."""
    slack = 2 + 0.02 * looks[-1].totals[column] / TRAFFIC_S
    return all(
        any(
            abs(one.real[column] - rule(looks, column, phase, one.at + late)) < slack
            for late in (-0.2, 0, 0.2)
        )
        for one in looks
    )


def test_rates_follow_the_traffic_and_its_end_by_the_kernels_rule(cluster: Cluster) -> None:
    looks = [look(cluster)]
    assert looks[0].real == looks[0].totals == [0] * 5
    with flow(cluster, TRAFFIC_S, 20000):
        looks += looks_for(cluster, TRAFFIC_S + SILENCE_S)
    sent = looks[-1].totals[1]
    assert sent > A_SECOND * TRAFFIC_S / 2
    assert looks[-1].totals == [sent, sent, sent, sent * IP_BYTES, sent * IP_BYTES]
    phases = [nr / 10 for nr in range(int(PERIOD_S * 10))]
    for column in range(5):
        fitting = [phase for phase in phases if follows_the_rule(looks, column, phase)]
        assert fitting, [(one.at - looks[0].at, one.totals, one.real) for one in looks]
    peak = max(looks, key=lambda one: one.real[1]).real
    assert peak[0] == peak[1] == peak[2]
    assert peak[3] / peak[1] == pytest.approx(IP_BYTES, rel=0.02)
    assert looks[-1].real[1] < 0.8 * peak[1]
    of_the_server = [one.real for one in looks]
    assert all(one.service in of_the_server for one in looks)


def test_rates_stand_still_when_they_are_told_to_and_zero_is_zero(cluster: Cluster) -> None:
    with flow(cluster, 4, 30000):
        estimate(cluster, 1)
        wait_for(lambda: look(cluster).real[1] > 0, "rates", cluster)
        estimate(cluster, 0)
        before = look(cluster)
        time.sleep(2.2)
        after = look(cluster)
        assert after.totals[1] > before.totals[1]
        assert (after.real, after.service) == (before.real, before.service)
        assert after.real != [0] * 5
    before = look(cluster)
    estimate(cluster, 1)
    wait_for(lambda: look(cluster).real != before.real, "rates that move again", cluster)
    time.sleep(PERIOD_S)  # nothing that was counted is left for the next estimate
    onevip_ipvsadm(cluster, "-Z")
    zero = look(cluster)
    assert (zero.totals, zero.real, zero.service) == ([0] * 5,) * 3
    time.sleep(PERIOD_S)
    assert look(cluster).real == [0] * 5


def estimate(cluster: Cluster, run_estimation: int) -> None:
    with inside(cluster.director):
        sysctl.main(["-w", f"run_estimation={run_estimation}"], Environment(stdout=StringIO()))
