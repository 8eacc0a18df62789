"""Services by firewall mark, with the user's own nftables rules, real clients and real servers.

Nothing but `ipvsadm` runs on the director, unless a test says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from netns.clusters import prefix, serve, wait_for
from onevip.lab import Cluster
from onevip.lab.cluster import DIRECTOR, FALLBACK_PAGE, PAGES, REAL_SERVERS, VIP
from onevip.lab.namespace import LabError

MARK = 7
SECOND_PORT, UPLOAD_PORT, DATAGRAM_PORT, PLAIN_PORT, UNMARKED_PORT = 8443, 9000, 7000, 7001, 81
FAR_VIP = "198.51.100.9"  # on no interface: only routed to the director
FORWARD = {"gate": "-g", "masq": "-m", "ipip": "-i"}

MARKS = f"""
table ip users {{
    chain prerouting {{
        type filter hook prerouting priority mangle; policy accept;
        ip daddr {{ {VIP}, {FAR_VIP} }} tcp dport {{ 80, {SECOND_PORT}, {UPLOAD_PORT} }} meta mark set {MARK}
        ip daddr {VIP} udp dport {DATAGRAM_PORT} meta mark set {MARK}
    }}
}}
"""  # noqa: E501

#: A real server's second web server, its sink, and one that answers datagrams with their TTL.
SERVER = f"""
import hashlib, socket, sys, threading

def page(connection):
    connection.recv(4096)
    body = sys.argv[1].encode()
    connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)

def swallow(connection):
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    connection.sendall(digest.digest())

def serve(server, answer):
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            answer(connection)

def ttl(server):
    while True:
        _, told, _, client = server.recvmsg(65535, 128)
        kept = [one for one in told if one[1] == 8]
        (hops,) = (data[0] for _, kind, data in told if kind == 2)  # IP_TTL
        server.sendmsg([str(hops).encode()], kept, 0, client)

for port, answer in (({SECOND_PORT}, page), ({UPLOAD_PORT}, swallow)):
    server = socket.create_server(("", port), backlog=64)
    threading.Thread(target=serve, args=(server, answer), daemon=True).start()
servers = []
for port in ({DATAGRAM_PORT}, {PLAIN_PORT}):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    server.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    server.bind(("", port))
    servers.append(threading.Thread(target=ttl, args=(server,)))
    servers[-1].start()
print("ready", flush=True)
"""


@pytest.fixture(scope="module", params=["gate", "masq", "ipip"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("services by mark need nft: apt install nftables")
    servers = []
    with Cluster(request.param, prefix()) as built:
        for name in REAL_SERVERS:
            built.onevip(name, "real", "start", "--vip", FAR_VIP, "--method", request.param)
            server = built.host(name).start(
                sys.executable, "-c", SERVER, PAGES[name], output=subprocess.PIPE
            )
            servers.append(server)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            server.stdout.close()
        built.client.ip(f"route add {FAR_VIP}/32 via {DIRECTOR}")
        yield built
    for server in servers:
        server.wait()


@pytest.fixture(autouse=True)
def _marked(cluster: Cluster) -> Iterator[None]:
    """The user's rules, and an empty table afterwards, which leaves those rules alone."""
    rules(cluster, "flush ruleset\n" + MARKS)
    before = surroundings(cluster)
    yield
    cluster.onevip("director", "ipvsadm", "-C")
    assert surroundings(cluster) == before
    rules(cluster, "flush ruleset")


def rules(cluster: Cluster, script: str) -> None:
    cluster.director.run("nft", "-f", "-", given=script)


def surroundings(cluster: Cluster) -> list[str]:
    commands = ("nft -s list ruleset", "ip -br link", "ip -br address", "ip route", "ip rule")
    return [cluster.director.run(*command.split()) for command in commands]


def ipvsadm(cluster: Cluster, *lines: str) -> str:
    return "".join(cluster.onevip("director", "ipvsadm", *line.split()) for line in lines)


def serve_mark(cluster: Cluster, *options: str) -> None:
    how = FORWARD[cluster.method]
    ipvsadm(cluster, " ".join((f"-A -f {MARK} -s rr", *options)))
    ipvsadm(cluster, *(f"-a -f {MARK} -r {real} {how}" for real in REAL_SERVERS.values()))
    ipvsadm(cluster, "-Z")  # counters come back with a real server that connections still name


def page(cluster: Cluster, port: int = 80, vip: str = VIP) -> str:
    return cluster.get(f"http://{vip}:{port}/")


def totals(cluster: Cluster, name: str) -> list[int]:
    """Conns, InPkts, OutPkts, InBytes, OutBytes of a line of the table."""
    for line in ipvsadm(cluster, "-Ln --stats --exact").splitlines():
        if name in line:
            return [int(word) for word in line.split()[2:]]
    raise AssertionError(f"{name} is not in the table")


def python(cluster: Cluster, host: str, program: str) -> str:
    return cluster.host(host).run(sys.executable, "-c", textwrap.dedent(program))


def test_two_ports_are_one_service(cluster: Cluster) -> None:
    serve_mark(cluster)
    ports = (80, SECOND_PORT, SECOND_PORT, 80, 80, SECOND_PORT)
    pages = [page(cluster, port) for port in ports]
    assert sorted(pages) == sorted([*PAGES.values()] * 3)
    assert pages[0] != pages[1]  # rr goes on from port to port
    for real in REAL_SERVERS.values():
        connections, in_packets, out_packets, in_bytes, _ = totals(cluster, f"{real}:0")
        assert connections == 3
        assert in_packets >= 4 * connections
        assert in_bytes > 40 * in_packets
        assert (out_packets > 0) == (cluster.method == "masq")
    assert totals(cluster, f"FWM  {MARK}")[0] == 6
    listed = ipvsadm(cluster, "-Lcn")
    for real in REAL_SERVERS.values():
        assert f"{VIP}:80     {real}:80" in listed
        assert f"{VIP}:{SECOND_PORT}   {real}:{SECOND_PORT}" in listed


def test_a_client_keeps_its_real_server_on_every_port(cluster: Cluster) -> None:
    """Spec ipvs 12.2, row 13."""
    serve_mark(cluster, "-p 100")
    first = page(cluster)
    assert [page(cluster, port) for port in (SECOND_PORT, 80, SECOND_PORT, 80)] == [first] * 4
    (name,) = (name for name, text in PAGES.items() if text == first)
    listed = ipvsadm(cluster, "-Lcn")
    (template,) = (line for line in listed.splitlines() if line.startswith("IP "))
    assert template.split()[2:] == [
        "ASSURED",
        "10.20.0.1:0",
        "0.0.0.7:0",
        f"{REAL_SERVERS[name]}:0",
    ]
    assert 90 <= int(template.split()[1].replace(":", "")) <= 140  # 01:40 at most
    assert totals(cluster, f"{REAL_SERVERS[name]}:0")[0] == 5


def test_what_has_no_mark_is_none_of_its_business(cluster: Cluster) -> None:
    serve_mark(cluster)
    rules(cluster, f"flush ruleset\n{MARKS.replace('{ 80,', '{')}")
    assert page(cluster) == FALLBACK_PAGE  # the director's own web server: the VIP is local
    ipvsadm(cluster, f"-e -f {MARK} -r {REAL_SERVERS['rs1']} -w 2 {FORWARD[cluster.method]}")
    assert page(cluster) == FALLBACK_PAGE
    assert page(cluster, SECOND_PORT) in PAGES.values()
    rules(cluster, "delete table ip users\n" + MARKS)


def test_real_servers_see_the_same_ttl_as_by_an_address_service(cluster: Cluster) -> None:
    serve_mark(cluster)
    how = FORWARD[cluster.method]
    ipvsadm(cluster, f"-A -u {VIP}:{PLAIN_PORT} -s rr")
    ipvsadm(cluster, f"-a -u {VIP}:{PLAIN_PORT} -r {REAL_SERVERS['rs1']}:{PLAIN_PORT} {how}")
    asked = f"""
        import socket
        for port in ({DATAGRAM_PORT}, {PLAIN_PORT}):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(3)
            client.connect(("{VIP}", port))
            for _ in range(2):  # the first makes the connection, the second finds it
                client.send(b"?")
                print(client.recv(100).decode())
        """
    assert python(cluster, "client", asked).split() == ["63"] * 4


def test_ten_megabytes_arrive(cluster: Cluster) -> None:
    serve_mark(cluster)
    transfer = f"""
        import hashlib, os, socket
        data = os.urandom(10_000_000)
        with socket.create_connection(("{VIP}", {UPLOAD_PORT}), 20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(64) == hashlib.sha256(data).digest()
        """
    python(cluster, "client", transfer)
    assert totals(cluster, f"FWM  {MARK}")[3] > 10_000_000


def test_a_vip_need_not_be_the_directors_own(cluster: Cluster) -> None:
    serve_mark(cluster)
    assert sorted(page(cluster, vip=FAR_VIP) for _ in range(4)) == sorted([*PAGES.values()] * 2)


def test_without_real_servers_a_client_is_refused_at_once(cluster: Cluster) -> None:
    """By an ICMP error, which the door on ov1 makes."""
    ipvsadm(cluster, f"-A -f {MARK} -s rr")
    asked = f"""
        import socket
        client = socket.socket()
        client.settimeout(3)
        print(client.connect_ex(("{VIP}", 80)))
        """
    assert python(cluster, "client", asked).strip() == "111"  # ECONNREFUSED


def test_an_established_connection_needs_the_detour_no_more(cluster: Cluster) -> None:
    serve_mark(cluster)
    with connected(cluster) as ask:
        assert ask() == "7"
        rules(cluster, "flush ruleset")
        assert ask() == "7"
    rules(cluster, MARKS)


@contextmanager
def connected(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """A client with one connection to the sink; each call sends through it and counts."""
    program = textwrap.dedent(f"""
        import socket, sys
        connection = socket.create_connection(("{VIP}", {UPLOAD_PORT}), 5)
        for _ in sys.stdin:
            connection.sendall(b"x" * 7)
            import fcntl, struct, termios, time
            for _ in range(50):  # until all is acknowledged
                left = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
                if not left:
                    break
                time.sleep(0.1)
            print(7 - left, flush=True)
        """)
    argv = cluster.client.inside(sys.executable, "-c", program)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> str:
            print(file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        try:
            yield ask
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.terminate()


def test_the_next_edit_restores_what_a_flush_took(cluster: Cluster) -> None:
    serve_mark(cluster)
    rules(cluster, "flush ruleset\n" + MARKS)
    assert page(cluster) == FALLBACK_PAGE
    ipvsadm(cluster, f"-e -f {MARK} -r {REAL_SERVERS['rs1']} -w 1 {FORWARD[cluster.method]}")
    assert page(cluster) in PAGES.values()


def test_the_daemon_restores_what_a_flush_took(cluster: Cluster) -> None:
    serve(cluster)
    try:
        serve_mark(cluster)
        rules(cluster, "flush ruleset\n" + MARKS)
        told = "packets with a firewall mark found no way to a door: mended"
        wait_for(lambda: told in cluster.log.read_text(), "the daemon's word", cluster)
        assert page(cluster, SECOND_PORT) in PAGES.values()
        cluster.director.run("ip", "link", "delete", "ov0")
        wait_for(lambda: "ov0" in cluster.director.run("ip", "link"), "ov0", cluster)
        wait_for(lambda: answers(cluster), "an answer by the new pair", cluster)
    finally:
        cluster.stop_daemon()


def answers(cluster: Cluster) -> bool:
    time.sleep(0.1)
    with suppress(LabError):
        return page(cluster, SECOND_PORT) in PAGES.values()
    return False


def test_unloading_leaves_nothing(cluster: Cluster) -> None:
    serve_mark(cluster)
    cluster.onevip("director", "detach", "--unload")
    assert "onevip_marks" not in cluster.director.run("nft", "list", "ruleset")
    assert "ov0" not in cluster.director.run("ip", "link")
