"""What a packet may meet between `front` and `back`: floors, the kernel's own ways, onevip.

A road is set up on a fresh site and returns its tally: how many packets it says it has carried,
and how many of the same went another way. A road without counters of its own has none; the sink,
which looks at addresses, then speaks alone.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.live import VIP, Site, inside, real_address
from benchmarks.sections import BenchmarkError
from onevip.engines.bpf import BpfEngine, loader
from onevip.engines.bpf.shapes import Limits
from onevip.model import (
    AddRealServer,
    AddService,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
)

Tally = Callable[[], tuple[int, int]]
Road = Callable[[Site], Tally | None]

MODULES = ("ip_vs", "ip_vs_rr", "ip_vs_wlc")
FLAGS = {ForwardingMethod.MASQ: "-m", ForwardingMethod.GATE: "-g"}
NFT = f"""\
table ip bench {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {VIP} udp dport 80 dnat to {real_address(0)}:80
    }}
}}
"""


def drop(site: Site) -> None:
    """The floor: the generator, and a program that counts and drops."""
    site.xdp(site.director, "front", "sink")


def swap(site: Site) -> None:
    """XDP_TX with the MACs swapped: the least that sends a packet on."""
    site.xdp(site.director, "front", "swap")


def redirect(site: Site) -> None:
    """To `back`, with the hop's MACs written: the least that a balancer with two legs does."""
    with inside(site.director):
        site.programs.onward = socket.if_nametoindex("back")
    site.xdp(site.director, "front", "redirect")


def receive_by_napi(site: Site) -> None:
    """`front` gets frames that were redirected only with a program, or with GRO, which costs more.

    For the kernel's own ways and the tc door: 270 instructions a packet in their favour.
    """
    site.xdp(site.director, "front", "pass")


def forwarding(site: Site) -> Tally:
    """The kernel's own: the VIP is an address behind `back`, by a route."""
    receive_by_napi(site)
    site.director.ip(f"addr del {VIP}/32 dev front", f"route add {VIP}/32 via {real_address(0)}")
    return lambda: (_forwarded(site), 0)


def _forwarded(site: Site) -> int:
    with inside(site.director):
        names, values = (
            line.split()
            for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
            if line.startswith("Ip:")
        )
    return int(values[names.index("ForwDatagrams")])


def nft_dnat(site: Site) -> None:
    """conntrack and NAT by nf_tables."""
    receive_by_napi(site)
    site.director.run("nft", "-f", "-", given=NFT)


def has_ipvs() -> bool:
    """Loads the kernel's IPVS, if this kernel has it."""
    # The widest table that it may have: longer chains would cost it more.
    options = ("conn_tab_bits=20",)
    done = [
        subprocess.run(["modprobe", name, *(options if name == "ip_vs" else ())], check=False,
                       capture_output=True).returncode
        for name in MODULES
    ]  # fmt: skip
    return not any(done)


def ipvs(method: ForwardingMethod, scheduler: str, reals: int) -> Road:
    """The kernel's IPVS by ipvsadm."""

    def road(site: Site) -> Tally:
        receive_by_napi(site)
        rules = [f"-A -t {VIP}:80 -s {scheduler}"]
        rules += [
            f"-a -t {VIP}:80 -r {real_address(n)}:80 {FLAGS[method]} -w 1" for n in range(reals)
        ]
        site.director.run("ipvsadm", "-R", given="\n".join(rules) + "\n", timeout_s=120)
        return lambda: (_ipvs_packets(site), 0)

    return road


def _ipvs_packets(site: Site) -> int:
    """By its counters of each CPU: what ipvsadm shows is two seconds old."""
    with inside(site.director):
        lines = Path("/proc/thread-self/net/ip_vs_stats_percpu").read_text().splitlines()
    rows = [line.split() for line in lines]
    return sum(int(row[2], 16) for row in rows if len(row) == 6 and row[0] not in ("CPU", "~"))


def send_back_as_a_device() -> None:
    """`front` is a veth, whose peer has an XDP program here: it sends back as a card's driver."""
    plane, front = loader.find(), socket.if_nametoindex("front")
    if plane is None:
        raise BenchmarkError("nothing is loaded")
    plane.own_macs.set(front % Limits.XDP_PLACES, "is_device", 1)


def onevip(door: str, method: ForwardingMethod, scheduler: str, reals: int) -> Road:
    """onevip by one door. What xdp handed over, the tc door carried."""

    def road(site: Site) -> Tally:
        service = ServiceKey(Protocol.TCP, IPv4Address(VIP), 80)
        servers = (
            RealServer(IPv4Address(real_address(n)), 80, method, weight=1) for n in range(reals)
        )
        with inside(site.director):
            engine = BpfEngine()
            engine.apply(
                [
                    AddService(service, scheduler),
                    *(AddRealServer(service, server) for server in servers),
                ]
            )
            if door == "xdp":
                engine.attach("front", door)
                send_back_as_a_device()
            else:
                receive_by_napi(site)
            open_doors = {shown.interface.name: shown.doors for shown in engine.doors()}
        if door not in open_doors["front"]:
            raise BenchmarkError(f"onevip did not open its {door} door: {open_doors}")

        def carried() -> tuple[int, int]:
            with inside(site.director):
                counters = engine.door_counters()
            by_door = {name: counters[name][method.name.lower()] for name in counters}
            return by_door.pop(door), sum(by_door.values())

        return carried

    return road
