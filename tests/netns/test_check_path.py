"""Checks by way of the VIP find what those at the real server's own address do not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from netns import asked_by_vip
from netns.clusters import door_counters, kill_daemon, wait_for
from netns.conftest import Build
from onevip.lab import Cluster
from onevip.lab.cluster import REAL_SERVERS, VIP

#: Longer than a segment: the tunnel must take what TCP sends as one piece.
REQUEST = ".healthcheck.html?" + "x" * 3000
#: Port 80 is checked by way of the VIP, port 8080 at the real servers' own addresses.
FILE = """\
checktimeout=1
negotiatetimeout=1
checkinterval=1
quiescent=yes
""" + "".join(
    f"""\
virtual={VIP}:{port}
        real={REAL_SERVERS["rs1"]}:{port} {{method}} 2 "{REQUEST}","OKAY"
        real={REAL_SERVERS["rs2"]}:{port} {{method}} 2 "{REQUEST}","OKAY"
        service=http
        checkport=80
        scheduler=wrr
        checktype=negotiate
        checkpath={way}
"""
    for port, way in ((80, "vip"), (8080, "rip"))
)
BOTH = {"rs1": 2, "rs2": 2}
#: A check's time limit, its second look, its interval; and what a busy machine takes.
NOTICED_S = 5


@pytest.fixture(scope="module", params=["gate", "ipip"])
def cluster(request: pytest.FixtureRequest, build: Build) -> Iterator[Cluster]:
    """Made for either door, by the tc door at first."""
    cluster = build(request.param, door="xdp")
    cluster.file.write_text(FILE.format(method=cluster.method))
    start(cluster)
    yield cluster
    cluster.down()


def start(cluster: Cluster) -> None:
    cluster.start_daemon()
    wait_for(lambda: weights(cluster, 80) == BOTH, "both up by way of the VIP", cluster)
    wait_for(lambda: weights(cluster, 8080) == BOTH, "both up", cluster)


def weights(cluster: Cluster, port: int) -> dict[str, int]:
    rows = cluster.rows()
    keys = {name: f"{address}:{port}" for name, address in REAL_SERVERS.items()}
    return {name: rows[key].weight for name, key in keys.items() if key in rows}


def goes_down(cluster: Cluster) -> str:
    """Real server 1, by way of the VIP alone; what the daemon said of it."""
    wait_for(lambda: weights(cluster, 80) == {"rs1": 0, "rs2": 2}, "weight 0", cluster, NOTICED_S)
    assert weights(cluster, 8080) == BOTH
    said = [line for line in cluster.log.read_text().splitlines() if "not at" in line]
    return said[-1]


def comes_back(cluster: Cluster) -> None:
    wait_for(lambda: weights(cluster, 80) == BOTH, "weight 2 again", cluster, NOTICED_S)


def test_a_server_without_the_vip_is_found_before_a_client_finds_it(cluster: Cluster) -> None:
    cluster.host("rs1").ip(f"address del {VIP}/32 dev lo")
    said = goes_down(cluster)
    assert f"answers at its own address, but not at {VIP}: timed out after 1 s; " in said
    assert f"is {VIP} on its lo?; weight 2 -> 0" in said
    assert {cluster.get() for _ in range(4)} == {"this is real server 2"}
    cluster.host("rs1").ip(f"address add {VIP}/32 dev lo")
    comes_back(cluster)


@pytest.mark.parametrize("cluster", ["gate"], indirect=True)
def test_a_server_that_is_dead_is_as_dead_by_way_of_the_vip(cluster: Cluster) -> None:
    cluster.web_servers["rs1"].stop()
    wait_for(lambda: weights(cluster, 80)["rs1"] == 0, "weight 0", cluster, NOTICED_S)
    wait_for(lambda: weights(cluster, 8080)["rs1"] == 0, "weight 0", cluster, NOTICED_S)
    said = f"connection refused (by way of {VIP})"
    assert said in cluster.log.read_text()
    cluster.web_servers["rs1"].start()
    cluster.web_servers["rs1"].wait_until_ready()
    comes_back(cluster)


@pytest.mark.parametrize("cluster", ["ipip"], indirect=True)
def test_a_tunnel_without_an_end_is_found(cluster: Cluster) -> None:
    decapsulation = (
        "from ipaddress import IPv4Address as A; from onevip.engines.bpf import decapsulation as d;"
    )
    rs1 = cluster.host("rs1")
    rs1.run(sys.executable, "-c", f"{decapsulation} d.remove(A('{VIP}'))")
    assert "does it take packets out of the tunnel" in goes_down(cluster)
    rs1.run(sys.executable, "-c", f"{decapsulation} d.add(A('{VIP}'))")
    comes_back(cluster)


#: A real server that answers datagrams to the VIP, from there.
ANSWERS = f"""
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("{VIP}", {asked_by_vip.PORT}))
print("ready", flush=True)
while True:
    server.sendto(*server.recvfrom(2000))
"""


def test_datagrams_and_echoes_go_that_way_too_and_refusals_come_back(cluster: Cluster) -> None:
    """Beside the daemon: two processes have such paths here."""
    server = cluster.host("rs1").start(sys.executable, "-c", ANSWERS, output=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        asking = (asked_by_vip.__file__, VIP, REAL_SERVERS["rs1"], cluster.method)
        assert cluster.director.run(sys.executable, *asking).splitlines() == [
            "udp b'hello'",
            "udp closed Connection refused",
            "tcp closed Connection refused",
            "echo type 0, b'nevip'",
        ]
    finally:
        server.terminate()
        server.communicate()


#: The programs at tc's hooks, by name: "NAME eth0" a line. bpftool shows no tcx before 7.3.
ATTACHED = """
import ctypes, json, socket, subprocess
libbpf = ctypes.CDLL("libbpf.so.1")
for index, interface in socket.if_nameindex():
    ids = []
    for hook in (46, 47):  # tcx, ingress and egress
        found, count = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(64)
        if libbpf.bpf_prog_query(index, hook, 0, None, found, ctypes.byref(count)) == 0:
            ids += found[: count.value]
    for way in ("ingress", "egress"):
        shown = ["tc", "-j", "filter", "show", "dev", interface, way]
        told = json.loads(subprocess.run(shown, capture_output=True).stdout or "[]")
        ids += [one["options"]["prog"]["id"] for one in told if "prog" in one.get("options", {})]
    for one in ids:
        shown = ["bpftool", "-j", "prog", "show", "id", str(one)]
        print(json.loads(subprocess.run(shown, capture_output=True).stdout)["name"], interface)
"""


def attached(cluster: Cluster) -> list[str]:
    """The programs for checks in the director's namespace, and where."""
    shown = cluster.director.run(sys.executable, "-c", ATTACHED).splitlines()
    return sorted(line for line in shown if line.startswith("onevip_check"))


HAS_TCX = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 6)
HERE = ["onevip_check_in eth0", "onevip_check_out eth0"]


def test_nothing_of_it_outlives_the_daemon(cluster: Cluster) -> None:
    assert attached(cluster) == HERE
    kill_daemon(cluster)
    assert attached(cluster) == ([] if HAS_TCX else HERE)  # the next daemon takes its filters
    start(cluster)  # the table is what it was: that says nothing of the new daemon
    wait_for(lambda: attached(cluster) == HERE, "programs at eth0", cluster)
    assert cluster.stop_daemon() == 0
    assert attached(cluster) == []
    kept = "from onevip import namespace as n; print(*n.run_directory().glob('checks-*'))"
    assert cluster.director.run(sys.executable, "-c", kept).strip() == ""
    start(cluster)


@pytest.mark.parametrize("cluster", ["gate"], indirect=True)
def test_a_new_interface_is_a_way_too(cluster: Cluster) -> None:
    cluster.director.ip("link add more type veth peer name less")
    wait_for(lambda: len(attached(cluster)) == 6, "programs at both ends", cluster)
    cluster.director.ip("link delete more")
    wait_for(lambda: attached(cluster) == HERE, "programs at eth0", cluster)
    comes_back(cluster)


def sent_on(cluster: Cluster) -> int:
    """How many packets the doors sent to real servers."""
    return sum(counters.get(cluster.method, 0) for counters in door_counters(cluster).values())


@pytest.mark.parametrize("door", ["tc", "xdp"])
def test_nor_do_the_others_answer_for_one_that_sends_the_probe_back(
    cluster: Cluster, door: str
) -> None:
    """It forwards; so the probe comes to the director's own door, as if from a client."""
    if door == "xdp":
        cluster.attach_xdp()
    rs1 = cluster.host("rs1")
    rs1.sysctl({"ipv4/ip_forward": 1})
    rs1.ip(f"address del {VIP}/32 dev lo")
    before = sent_on(cluster)
    goes_down(cluster)
    assert sent_on(cluster) == before
    rs1.ip(f"address add {VIP}/32 dev lo")
    rs1.sysctl({"ipv4/ip_forward": 0})
    comes_back(cluster)
