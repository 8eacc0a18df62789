"""The data plane by `ipvsadm` alone: local servers, fragments, routes, upgrades, killed writers."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from netns.clusters import prefix
from onevip.lab import Cluster
from onevip.lab.cluster import DIRECTOR, FALLBACK_PAGE, PAGES, REAL_SERVERS, VIP
from onevip.lab.namespace import ENVIRONMENT, LabError

ECHO_PORT = 7000
FORWARD = {"gate": "-g", "masq": "-m", "ipip": "-i"}

#: Answers each datagram with its own bytes, from the address that it was sent to.
ECHO = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    server.bind(("", {ECHO_PORT}))
    print("ready", flush=True)
    while True:
        data, told, _, client = server.recvmsg(65535, 64)
        server.sendmsg([data], told, 0, client)
"""


@pytest.fixture(scope="module", params=["gate", "masq", "ipip"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(request.param, prefix()) as built:
        yield built


@pytest.fixture(autouse=True)
def _empty_table(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.onevip("director", "ipvsadm", "-C")


def ipvsadm(cluster: Cluster, *lines: str) -> None:
    for line in lines:
        cluster.onevip("director", "ipvsadm", *line.split())


def python(cluster: Cluster, host: str, program: str) -> str:
    return cluster.host(host).run(sys.executable, "-c", textwrap.dedent(program))


def totals(cluster: Cluster, real: str) -> list[int]:
    """Conns, InPkts, OutPkts, InBytes, OutBytes of one real server."""
    for line in cluster.onevip("director", "ipvsadm", "-Ln", "--stats", "--exact").splitlines():
        if real in line:
            return [int(word) for word in line.split()[2:]]
    raise AssertionError(f"{real} is not in the table")


def serve_port_80(cluster: Cluster) -> None:
    how = FORWARD[cluster.method]
    ipvsadm(cluster, f"-A -t {VIP}:80 -s rr")
    ipvsadm(cluster, *(f"-a -t {VIP}:80 -r {real}:80 {how}" for real in REAL_SERVERS.values()))


def test_the_director_may_be_its_own_real_server(cluster: Cluster) -> None:
    ipvsadm(cluster, f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r 127.0.0.1:80 -g")
    assert cluster.get() == FALLBACK_PAGE
    connections, in_packets, out_packets, _, out_bytes = totals(cluster, "127.0.0.1:80")
    assert connections == 1
    assert in_packets >= 4
    assert out_packets >= 3  # SYN-ACK, page, FIN: seen on their way out
    assert out_bytes > len(FALLBACK_PAGE)


def test_masq_to_the_director_itself_translates_the_port_both_ways(cluster: Cluster) -> None:
    ipvsadm(cluster, f"-A -t {VIP}:8080 -s rr", f"-a -t {VIP}:8080 -r {DIRECTOR}:80 -m")
    assert cluster.get(f"http://{VIP}:8080/") == FALLBACK_PAGE
    assert totals(cluster, f"{DIRECTOR}:80")[2] >= 3


def test_masq_to_127_0_0_1_is_refused_as_ipvs_does(cluster: Cluster) -> None:
    ipvsadm(cluster, f"-A -t {VIP}:8081 -s rr", f"-a -t {VIP}:8081 -r 127.0.0.1:80 -m")
    with pytest.raises(LabError):
        cluster.get(f"http://{VIP}:8081/", "--max-time", "1")


@contextmanager
def echo_server(cluster: Cluster) -> Iterator[None]:
    with cluster.host("rs1").start(sys.executable, "-c", ECHO, output=subprocess.PIPE) as echo:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        yield
        echo.terminate()


@pytest.mark.parametrize("size", [100, 4000, 20000])
def test_datagrams_larger_than_the_mtu_go_to_one_real_server(cluster: Cluster, size: int) -> None:
    with echo_server(cluster):
        ipvsadm(
            cluster,
            f"-A -u {VIP}:{ECHO_PORT} -s rr",
            f"-a -u {VIP}:{ECHO_PORT} -r 10.20.0.11:{ECHO_PORT} {FORWARD[cluster.method]}",
        )
        program = f"""
            import socket
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragments are fine
                client.settimeout(3)
                client.connect(("{VIP}", {ECHO_PORT}))
                data = bytes(i * 7 % 251 for i in range({size}))
                client.send(data)
                print(client.recv(65535) == data)
        """
        if cluster.method == "ipip" and size > 1472:
            # The tunnel has 20 bytes less; fragments made for the LAN do not fit, so the client
            # is told of the tunnel's MTU by its route, as an administrator would.
            cluster.client.ip(f"route replace {VIP}/32 dev eth0 mtu 1480")
        assert python(cluster, "client", program) == "True\n"


@pytest.mark.parametrize("cluster", ["gate"], indirect=True)
def test_traffic_follows_a_route_that_changes(cluster: Cluster) -> None:
    # gate shows it best: the real server on the way answers for the VIP itself
    serve_port_80(cluster)
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())
    cluster.director.ip("route add 10.20.0.11/32 via 10.20.0.12")
    looked_at_again = partial(python, cluster, "client", "import time; time.sleep(1.6)")
    try:
        looked_at_again()
        assert {cluster.get() for _ in range(4)} == {PAGES["rs2"]}
    finally:
        cluster.director.ip("route del 10.20.0.11/32")
    looked_at_again()
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())


def test_another_version_of_the_programs_is_swapped_in_and_connections_go_on(
    cluster: Cluster,
) -> None:
    serve_port_80(cluster)
    program = f"""
        import socket, subprocess, sys
        request = b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
        with socket.create_connection(("{VIP}", 80), 3) as kept:
            kept.sendall(request)
            first = kept.recv(4096)[-24:]
            print("open", flush=True)
            sys.stdin.readline()
            kept.sendall(request)
            print(kept.recv(4096)[-24:] == first)
    """
    client = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            cluster.client.name,
            sys.executable,
            "-c",
            textwrap.dedent(program),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"open\n"
    swap = """
        from onevip.engines.bpf import BpfEngine, loader
        plane = loader.find()
        assert BpfEngine().adopt() == []
        plane.settings.set(0, "build", 1)  # as if another version had loaded it
        print(BpfEngine().adopt())
        assert loader.is_current(plane)
        ticks = plane.report.get(0, "ticks")
        import time; time.sleep(0.1)
        assert plane.report.get(0, "ticks") > ticks
    """
    assert "replaced" in python(cluster, "director", swap)
    assert client.communicate(b"\n", timeout=5)[0] == b"True\n"
    assert client.returncode == 0
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())


def test_what_a_killed_writer_left_is_repaired_by_the_next(cluster: Cluster) -> None:
    serve_port_80(cluster)
    python(
        cluster,
        "director",
        """
        from onevip.engines.bpf import loader
        from onevip.engines.bpf.rows import Rows
        from onevip.engines.bpf.shapes import SlotState
        plane = loader.find()
        used = plane.settings.get(0, "reals_used")
        first = Rows(plane).list_of(Rows(plane).services()[0]).members[0].real
        plane.settings.set(0, "writing", 1)
        plane.settings.set(0, "reals_used", used + 1)
        plane.reals.set(used, "state", SlotState.SLOT_USED)     # written, in no list yet
        plane.reals.set(first, "state", SlotState.SLOT_LEAVING)  # still in its list
        """,
    )
    ipvsadm(cluster, f"-e -t {VIP}:80 -r 10.20.0.12:80 {FORWARD[cluster.method]} -w 3")
    states = python(
        cluster,
        "director",
        """
        from onevip.engines.bpf import loader
        from onevip.engines.bpf.rows import Rows
        plane = loader.find()
        members = Rows(plane).list_of(Rows(plane).services()[0]).members
        used = plane.settings.get(0, "reals_used")
        print([plane.reals.get(member.real, "state") for member in members])
        print(plane.reals.get(used - 1, "state"), plane.settings.get(0, "writing"))
        """,
    )
    assert states == "[1, 1]\n2 0\n"
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())


def test_an_interface_detached_by_hand_stays_so_until_it_is_attached(cluster: Cluster) -> None:
    serve_port_80(cluster)
    cluster.onevip("director", "detach", "eth0")
    ipvsadm(cluster, f"-A -t {VIP}:81 -s rr")
    assert "eth0             -        detached by hand" in cluster.onevip(
        "director", "attach", "--show"
    )
    assert cluster.get() == FALLBACK_PAGE  # not balanced: it is the director's own VIP
    cluster.onevip("director", "attach", "eth0")
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())


def test_without_capabilities_one_sentence_and_nothing_half_made(cluster: Cluster) -> None:
    inside = ["ip", "netns", "exec", cluster.client.name]
    fallen = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    for command in (("ipvsadm", "-A", "-t", f"{VIP}:80"), ("attach", "eth0")):
        done = subprocess.run(
            [*inside, *fallen, sys.executable, "-m", "onevip", *command],
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr
    listing = cluster.onevip("client", "attach", "--show")
    assert listing == "nothing is attached: no service has been added here yet\n"
    pins = Path("/run/onevip/bpf")
    assert not [path for path in pins.iterdir() if path.name.endswith("-new")]
