"""Who may stand between a client and two real servers, on the lab's LAN. Measures nothing.

    client, director, rs1, rs2 on one switch; the real servers are nginx with one worker each.

Each balancer knows how it is set up and what it counts, so that a run can show that the requests
went through it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cpu import Cgroup
from benchmarks.needed import NGINX_STREAM
from onevip.lab import Cluster, LabError, Namespace
from onevip.lab.cluster import CLIENT, DIRECTOR, REAL_SERVERS, VIP

RS1, RS2 = REAL_SERVERS.values()
READY_S = 10.0
BULK_MB = 10
ALL_PORTS = "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range"

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
"""
REAL_SERVER = """\
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 80 backlog=4096;
        location / {{ return 200 "this is a real server\\n"; }}
        location /bulk {{ root {directory}; }}
    }}
}}
"""
STREAM = f"""\
load_module {NGINX_STREAM};
events {{{{ worker_connections 4096; }}}}
stream {{{{
    upstream real_servers {{{{ server {RS1}:80; server {RS2}:80; }}}}
    server {{{{ listen {VIP}:80 backlog=4096; proxy_pass real_servers; }}}}
}}}}
"""
HAPROXY = f"""\
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen vip
    bind {VIP}:80 backlog 4096
    balance roundrobin
    server rs1 {RS1}:80
    server rs2 {RS2}:80
"""
NFT = f"""\
table ip bench {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {VIP} tcp dport 80 dnat to numgen inc mod 2 map {{ 0 : {RS1}, 1 : {RS2} }}
    }}
}}
"""

Count = Callable[[], int]


@dataclass(slots=True)
class Stage(Cluster):
    """The lab's cluster with nginx for Apache, all its processes in one cgroup."""

    cgroup: Cgroup = field(default_factory=lambda: Cgroup(Path("/nonexistent")))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    def start(self, host: Namespace, *argv: str) -> None:
        """Start a process that lives until the stage is taken down."""
        with (self.directory / "output.log").open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    self.cgroup.command(*host.inside(*argv)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def start_nginx(self, host: Namespace, configuration: str) -> None:
        directory = self.directory / host.name.removeprefix(self.prefix)
        directory.mkdir(exist_ok=True)
        file = directory / "nginx.conf"
        file.write_text((configuration + NGINX).format(directory=directory))
        self.start(host, "nginx", "-c", str(file), "-e", str(directory / "error.log"))

    def wait_for_port(self, host: Namespace, address: str) -> None:
        """Return when somebody listens on port 80; raises LabError with what was said."""
        deadline = time.monotonic() + READY_S
        while f"{address}:80" not in host.run("ss", "-H", "-l", "-t", "-n"):
            if time.monotonic() > deadline:
                logs = self.directory.rglob("*.log")
                said = "".join(log.read_text() for log in logs)
                raise LabError(f"nobody listens on port 80 of {host.name}: {said}")
            time.sleep(0.05)

    def route_replies_back(self) -> None:
        """Real servers answer by the director."""
        for name in REAL_SERVERS:
            self.host(name).ip(f"route add {CLIENT}/32 via {DIRECTOR}")

    def add_vip(self) -> None:
        self.director.ip(f"address add {VIP}/32 dev eth0")

    def add_vip_to_real_servers(self) -> None:
        """Taken, and never answered for by ARP."""
        for name in REAL_SERVERS:
            host = self.host(name)
            host.sysctl({"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/all/arp_announce": 2})
            host.ip(f"address add {VIP}/32 dev lo")

    def director_counts(self, protocol: str, name: str) -> int:
        """One number of the director's /proc/net/snmp."""
        text = self.director.run("cat", "/proc/net/snmp")
        names, values = (line.split() for line in text.splitlines() if line.startswith(protocol))
        return int(values[names.index(name)])

    def down(self) -> None:
        Cluster.down(self)  # super() does not work in a class with slots
        for process in self.started:
            process.wait()
        self.started.clear()

    def _start_web_servers(self) -> None:
        for name in REAL_SERVERS:
            host = self.host(name)
            self.start_nginx(host, REAL_SERVER)
            with (self.directory / name / "bulk").open("wb") as file:
                file.truncate(BULK_MB << 20)
            self.wait_for_port(host, "0.0.0.0")
        for name in ("client", "director"):
            self.host(name).run("sh", "-c", ALL_PORTS)
            self.host(name).sysctl({"ipv4/tcp_tw_reuse": 1})

    def _set_up_hosts(self) -> None:
        """Left to the balancer."""


@dataclass(frozen=True, slots=True)
class Balancer:
    """`set_up` returns what it counts; `counts` has the name of that, for people."""

    name: str
    set_up: Callable[[Stage], Count | None]
    method: str = "masq"
    door: str = "tc"
    is_ours: bool = False


def spread(host: Namespace) -> None:
    """This host's routing table gives half of the connections to the VIP to each real server."""
    host.sysctl({"ipv4/fib_multipath_hash_policy": 1})  # by ports too
    hops = " ".join(f"nexthop via {address}" for address in REAL_SERVERS.values())
    host.ip(f"route add {VIP}/32 {hops}")


def none(stage: Stage) -> None:
    """Straight over the switch, as the client's own routing table spreads them."""
    stage.add_vip_to_real_servers()
    spread(stage.client)


def forwarding(stage: Stage) -> Count:
    """The director as a router with two equal ways, there and back."""
    stage.add_vip_to_real_servers()
    stage.client.ip(f"route add {VIP}/32 via {DIRECTOR}")
    stage.route_replies_back()
    stage.director.sysctl({"ipv4/ip_forward": 1})
    spread(stage.director)
    return lambda: stage.director_counts("Ip:", "ForwDatagrams")


def nft_dnat(stage: Stage) -> Count:
    stage.add_vip()
    stage.route_replies_back()
    stage.director.sysctl({"ipv4/ip_forward": 1})
    stage.director.run("nft", "-f", "-", given=NFT)
    return lambda: stage.director_counts("Ip:", "ForwDatagrams")


def haproxy(stage: Stage) -> Count:
    stage.add_vip()
    file = stage.directory / "haproxy.cfg"
    file.write_text(HAPROXY)
    stage.start(stage.director, "haproxy", "-db", "-f", str(file))
    stage.wait_for_port(stage.director, VIP)
    return lambda: stage.director_counts("Tcp:", "InSegs")


def nginx_stream(stage: Stage) -> Count:
    stage.add_vip()
    stage.start_nginx(stage.director, STREAM)
    stage.wait_for_port(stage.director, VIP)
    return lambda: stage.director_counts("Tcp:", "InSegs")


def onevip(stage: Stage) -> Count:
    """By its own commands, as the lab sets it up; no daemon."""
    Cluster._set_up_hosts(stage)  # noqa: SLF001 - what our stage leaves to its balancers
    service = f"{VIP}:80"
    how = {"masq": "-m", "gate": "-g"}[stage.method]
    stage.onevip("director", "ipvsadm", "-A", "-t", service, "-s", "rr")
    for address in REAL_SERVERS.values():
        stage.onevip("director", "ipvsadm", "-a", "-t", service, "-r", f"{address}:80", how)
    if stage.door == "xdp":
        stage.attach_xdp()
    return lambda: door_counter(
        stage.onevip("director", "attach", "--show"), stage.door, stage.method
    )


def door_counter(shown: str, door: str, name: str) -> int:
    """One number of the table in `onevip attach --show`, which leaves out what never happened."""
    heading, *lines = shown.partition("\nPackets ")[2].splitlines() or [""]
    doors = heading.split()
    if door not in doors:
        raise LabError(f"attach --show tells nothing of the {door} door:\n{shown}")
    rows = {words[0]: words[1:] for line in lines if (words := line.split())}
    return int(rows[name][doors.index(door)]) if name in rows else 0


NO_BALANCER = Balancer("no balancer", none)
BALANCERS = (
    NO_BALANCER,
    Balancer("kernel forwarding", forwarding),
    Balancer("onevip tc masq", onevip, is_ours=True),
    Balancer("onevip tc gate", onevip, method="gate", is_ours=True),
    Balancer("onevip xdp masq", onevip, door="xdp"),
    Balancer("nft dnat", nft_dnat),
    Balancer("haproxy tcp", haproxy),
    Balancer("nginx stream", nginx_stream),
)


@contextmanager
def standing(
    balancer: Balancer, cgroup: Cgroup, prefix: str
) -> Iterator[tuple[Stage, Count | None]]:
    """The cluster with this balancer, gone afterwards, and what the balancer counts."""
    with Stage(balancer.method, prefix, balancer.door, cgroup=cgroup) as stage:
        yield stage, balancer.set_up(stage)
