"""Persistence and one-packet scheduling with real clients and servers, and the daemon's checks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from netns.clusters import FORWARD, kill_daemon, prefix, wait_for, weights
from onevip.lab import Cluster
from onevip.lab.cluster import CLIENT, DIRECTOR, PAGES, REAL_SERVERS, VIP

NEIGHBOUR = "10.20.0.2"
HEALTH = "pages/.healthcheck.html"
ASK_PORT = 7000

#: Answers each datagram with a name, from the address that it was sent to.
NAMED = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    server.bind(("", {ASK_PORT}))
    print("ready", flush=True)
    while True:
        _, told, _, client = server.recvmsg(2000, 64)
        server.sendmsg([sys.argv[1].encode()], told, 0, client)
"""

#: Ten questions from one port, one after the other; perhaps it hears the answers.
ASK = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(3)
    client.connect(("{VIP}", {ASK_PORT}))
    for _ in range(10):
        client.send(b"who are you?")
        if "hears" in sys.argv:
            print(client.recv(100).decode())
"""


@pytest.fixture(scope="module", params=["gate", "masq"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose client has two addresses."""
    with Cluster(request.param, prefix()) as built:
        built.client.ip(f"address add {NEIGHBOUR}/24 dev eth0")
        if built.method == "masq":
            for name in REAL_SERVERS:
                built.host(name).ip(f"route add {NEIGHBOUR}/32 via {DIRECTOR}")
        yield built


@pytest.fixture(autouse=True)
def _empty_table(cluster: Cluster) -> Iterator[None]:
    yield
    ipvsadm(cluster, "-C")


def ipvsadm(cluster: Cluster, *lines: str) -> str:
    return "".join(cluster.onevip("director", "ipvsadm", *line.split()) for line in lines)


def pages(cluster: Cluster, client: str, count: int = 3) -> set[str]:
    """What so many requests of a client address get, each a connection."""
    return {cluster.get(f"http://{VIP}/", "--interface", client) for _ in range(count)}


def test_a_client_stays_with_its_server_and_another_has_the_other(cluster: Cluster) -> None:
    how = FORWARD[cluster.method]
    ipvsadm(cluster, f"-A -t {VIP}:80 -s rr -p 60")
    ipvsadm(cluster, *(f"-a -t {VIP}:80 -r {real}:80 {how}" for real in REAL_SERVERS.values()))
    assert pages(cluster, CLIENT) == {PAGES["rs2"]}
    assert pages(cluster, NEIGHBOUR) == {PAGES["rs1"]}
    templates = [line.split() for line in ipvsadm(cluster, "-Lcn").splitlines() if ":0 " in line]
    assert sorted(words[3:] for words in templates) == [
        [f"{CLIENT}:0", f"{VIP}:80", f"{REAL_SERVERS['rs2']}:80"],
        [f"{NEIGHBOUR}:0", f"{VIP}:80", f"{REAL_SERVERS['rs1']}:80"],
    ]


def test_a_client_of_a_server_that_fails_its_check_reaches_the_other(cluster: Cluster) -> None:
    """quiescent=no. The server itself goes on answering: only its check fails."""
    text = cluster.write_file(quiescent=False)
    cluster.file.write_text(text.replace("scheduler=wrr", "scheduler=wrr\n        persistent=60"))
    cluster.start_daemon()
    both = {"rs1": 2, "rs2": 2}
    wait_for(lambda: weights(cluster) == both, "weights", cluster)
    (page,) = pages(cluster, CLIENT)
    mine, other = ("rs1", "rs2") if page == PAGES["rs1"] else ("rs2", "rs1")
    health = cluster.web_servers[mine].directory / HEALTH
    said = health.read_text()
    health.write_text("no\n")
    wait_for(lambda: weights(cluster) == {other: 2}, "the failed check", cluster)
    assert pages(cluster, CLIENT) == {PAGES[other]}
    assert f"{VIP}:65535" in ipvsadm(cluster, "-Lcn")
    health.write_text(said)
    wait_for(lambda: weights(cluster) == both, "its return", cluster)
    assert pages(cluster, CLIENT) == {PAGES[other]}
    kill_daemon(cluster)
    assert pages(cluster, CLIENT) == {PAGES[other]}
    assert "persistent 60" in cluster.listing()


def test_datagrams_one_by_one_take_turns(cluster: Cluster) -> None:
    """By masq nobody translates the answers back (spec ipvs 5.4): only by gate the client hears."""
    service = f"{VIP}:{ASK_PORT}"
    ipvsadm(cluster, f"-A -u {service} -s rr -o")
    with ExitStack() as servers:
        for name, address in REAL_SERVERS.items():
            servers.enter_context(answering(cluster, name))
            real = f"{address}:{ASK_PORT}"
            ipvsadm(cluster, f"-a -u {service} -r {real} {FORWARD[cluster.method]}")
        hears = ["hears"] if cluster.method == "gate" else []
        names = cluster.client.run(sys.executable, "-c", ASK, *hears).split()
    assert names == (["rs2", "rs1"] * 5 if hears else [])
    assert service not in ipvsadm(cluster, "-Lcn")
    stats = ipvsadm(cluster, "-Ln --stats --exact").splitlines()
    found = [line.split()[2:4] for line in stats if "->" in line and f":{ASK_PORT}" in line]
    assert found == [["5", "5"]] * 2  # Conns, InPkts


@contextmanager
def answering(cluster: Cluster, name: str) -> Iterator[None]:
    """That real server tells its name to whoever asks."""
    with cluster.host(name).start(
        sys.executable, "-c", NAMED, name, output=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
        server.terminate()
