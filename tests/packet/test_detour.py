"""Packets that the firewall has marked: they come to ov1 as they came in, and nothing is left.

By real interfaces and nftables, in a namespace of its own.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, IPOption_NOP, fragment

from onevip import namespace
from onevip.engines.bpf import BpfEngine, loader, netlink, pair, pins, ruleset
from onevip.engines.bpf.doors import TC, Doors, Hook, interface
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.marks import PLACES, Detour, marks_of
from onevip.engines.bpf.shapes import SERVICE_KEY
from onevip.model import DataplaneError
from packet.network import director_namespace, ip
from packet.wire import CLIENT, VIP, eth, icmp, ip4, tcp, udp

MARK = 7
OUTGOING = 4  # linux/if_packet.h
ETH_P_ALL = 3
ARRIVES_S = 5.0
QUIET_S = 0.2

#: What a user's rules look like; the last chain counts what reaches the stack, and how.
USERS_RULES = f"""
table ip users {{
    chain marks {{
        type filter hook prerouting priority mangle;
        ip daddr {VIP} tcp dport {{ 80, 443 }} meta mark set {MARK}
        ip daddr {VIP} udp dport 53 meta mark set {MARK}
        ip daddr {VIP} icmp type echo-request meta mark set {MARK}
        ip daddr {VIP} tcp dport 25 meta mark set 8
        ct state established accept
    }}
    chain arrivals {{
        type filter hook prerouting priority 301;
        iifname "ov1" meta mark {MARK} counter comment "marked from ov1"
        iifname "front" counter comment "from front"
    }}
}}
"""


def nft(script: str) -> str:
    done = subprocess.run(
        ["nft", "-f", "-"], input=script, text=True, check=True, capture_output=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def engine() -> Iterator[BpfEngine]:
    if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("the detour of marked packets needs nft: apt install nftables")
    with director_namespace():
        ip(f"addr add {VIP}/32 dev lo")
        engine = BpfEngine()
        with pins.writer_lock() as base:
            loader.load(base)
            loader.enable_lookups()
        try:
            yield engine
        finally:
            engine.unload()


@pytest.fixture
def plane(engine: BpfEngine) -> Iterator[DataPlane]:
    """With the user's rules; afterwards there are no rules and no detour."""
    plane = loader.find()
    assert plane is not None
    nft(f"flush ruleset\n{USERS_RULES}")
    Doors(plane).follow()
    yield plane
    Detour(plane).remove()
    nft("flush ruleset")


@pytest.fixture
def detour(plane: DataPlane) -> Detour:
    """That of MARK."""
    detour = Detour(plane)
    assert detour.ensure({MARK})
    return detour


@contextmanager
def captured(interface: str, wanted: Callable[[Any], bool]) -> Iterator[Callable[[], list[bytes]]]:
    """What comes in at an interface from now on, without its Ethernet header."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as tap:
        tap.bind((interface, ETH_P_ALL))
        frames: list[bytes] = []

        def seen() -> list[bytes]:
            """All, when for a while no more have come."""
            deadline = time.monotonic() + ARRIVES_S
            while time.monotonic() < deadline:
                tap.settimeout(QUIET_S if frames else deadline - time.monotonic())
                try:
                    raw, (_, protocol, kind, _, _) = tap.recvfrom(1 << 16)
                except TimeoutError:
                    break
                if kind != OUTGOING and protocol == 0x800 and wanted(IP(raw)):
                    frames.append(raw)
            return frames

        yield seen


def send(*frames: Any, by: str = "front-peer") -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((by, 0))
        for frame in frames:
            wire.send(bytes(frame))


def to_vip(packet: Any) -> bool:
    return bool(packet.dst == VIP)


def comes_to_ov1(*packets: Any) -> list[bytes]:
    """Send them in at front; what came in at ov1."""
    with captured("ov1", to_vip) as seen:
        send(*(eth() / packet for packet in packets))
        return seen()


def arrivals(comment: str) -> int:
    listed = subprocess.run(
        ["nft", "list", "chain", "ip", "users", "arrivals"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (line,) = (line for line in listed.splitlines() if comment in line)
    words = line.split()
    return int(words[words.index("packets") + 1])


SYN = ip4(CLIENT, VIP, id=4711, flags="DF") / tcp(40000, 80, "S")
DATAGRAM = ip4(CLIENT, VIP, id=4712) / udp(40000, 53) / b"who"


def comes_through() -> bool:
    return comes_to_ov1(SYN) == [bytes(SYN)]


@pytest.mark.parametrize(
    "packet",
    [
        SYN,
        ip4(CLIENT, VIP, id=1, flags="DF", ttl=1, tos=0xB8) / tcp(40000, 443, "A") / b"data",
        ip4(CLIENT, VIP, id=0, ttl=255) / tcp(40000, 80, "S"),
        ip4(CLIENT, VIP, id=65535, ttl=128, options=[IPOption_NOP()] * 4) / tcp(40000, 80, "S"),
        DATAGRAM,
        ip4(CLIENT, VIP, flags="DF", ttl=2) / udp(40000, 53) / bytes(1400),
    ],
    ids=["SYN", "TTL 1", "without DF", "with options", "datagram", "datagram with DF"],
)
def test_a_marked_packet_comes_to_ov1_as_it_came_in(detour: Detour, packet: Any) -> None:
    before = arrivals("marked from ov1"), arrivals("from front")
    assert comes_to_ov1(packet) == [bytes(packet)]
    # There is no service yet: the door lets it go on, once, with its mark.
    assert (arrivals("marked from ov1"), arrivals("from front")) == (before[0] + 1, before[1])


def test_a_frame_on_ov1_is_for_this_machine(detour: Detour) -> None:
    """The doors look at no other."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.bind(("ov1", ETH_P_ALL))
        tap.settimeout(ARRIVES_S)
        send(eth() / SYN)
        raw, (_, _, kind, _, mac) = tap.recvfrom(2000)
    assert (kind, raw[:6], mac) == (socket.PACKET_HOST, pair.MAC, pair.MAC)


def test_fragments_that_the_stack_put_together_come_as_they_came(detour: Detour) -> None:
    """A rule of the user's asks for `ct state`: from then on fragments are put together."""
    whole = ip4(CLIENT, VIP, id=99) / udp(40000, 53) / (bytes(range(250)) * 12)
    pieces = fragment(IP(bytes(whole)), 1400)
    assert comes_to_ov1(*pieces) == [bytes(piece) for piece in pieces]


@pytest.mark.parametrize(
    "packet",
    [
        ip4(CLIENT, VIP) / tcp(40000, 22, "S"),
        ip4(CLIENT, VIP) / tcp(40000, 25, "S"),
        ip4(CLIENT, VIP) / icmp(8, 0),
    ],
    ids=["no mark", "mark of no service", "no protocol of a service"],
)
def test_what_no_service_could_name_takes_no_detour(detour: Detour, packet: Any) -> None:
    before = arrivals("from front")
    with captured("ov1", to_vip) as seen:
        send(eth() / packet, eth() / SYN)  # the SYN shows that all is past
        assert seen() == [bytes(SYN)]
    assert arrivals("from front") == before + 1


@pytest.mark.parametrize("to", ["02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff"])
def test_a_frame_to_another_machine_or_to_all_takes_no_detour(detour: Detour, to: str) -> None:
    """A switch may flood the former; services take neither (spec ipvs 1.1)."""
    with captured("ov1", to_vip) as seen:
        send(eth(to=to) / DATAGRAM, eth() / SYN)
        assert seen() == [bytes(SYN)]


def test_errors_of_the_door_on_ov1_go_to_the_client(detour: Detour) -> None:
    error = ip4(VIP, CLIENT, id=5) / icmp(3, 3) / SYN
    with captured("front-peer", lambda packet: packet.src == VIP) as seen:
        send(eth(to="02:00:6f:76:6d:6b", src="02:00:6f:76:6d:6b") / error, by="ov1")
        assert seen() == [bytes(error)]


def test_marks_may_come_and_go(detour: Detour) -> None:
    assert detour.ensure({8, 0xDEADBEEF})
    other = ip4(CLIENT, VIP, flags="DF") / tcp(40000, 25, "S")
    assert comes_to_ov1(SYN, other) == [bytes(other)]
    assert not detour.ensure({0xDEADBEEF, 8})
    assert detour.ensure({MARK})
    assert comes_to_ov1(other, SYN) == [bytes(SYN)]


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout


def everything() -> tuple[str, ...]:
    """What we might leave behind."""
    commands = ("nft -s list ruleset", "ip route show table all", "ip rule", "ip -o addr")
    found = [
        subprocess.run(one.split(), check=True, capture_output=True, text=True).stdout
        for one in commands
    ]
    names = sorted(name for _, name in socket.if_nameindex())
    plane = loader.find()
    assert plane is not None
    kept = sorted(path.name for path in (plane.path / "links").iterdir())
    remembered = sorted(path.name for path in namespace.run_directory().glob("*"))
    return (*found, *names, *kept, *remembered)


def test_removal_leaves_nothing_and_takes_nothing_of_others(plane: DataPlane) -> None:
    before = everything()
    detour = Detour(plane)
    detour.ensure({MARK})
    assert "onevip_marks" in everything()[0]
    for line in before[0].splitlines():
        assert line in everything()[0]
    assert detour.ensure(set())
    assert everything() == before
    assert not detour.ensure(set())
    assert not detour.remove()


DAMAGE = {
    "the ruleset was flushed": "nft flush ruleset",
    "the table was deleted": "nft delete table ip onevip_marks",
    "the chain was flushed": "nft flush chain ip onevip_marks prerouting",
    "ov0 was deleted": "ip link delete ov0",
    "ov1 was deleted": "ip link delete ov1",
    "ov0 is down": "ip link set ov0 down",
    "ov1 is down": "ip link set ov1 down",
    "ov0 asks for MACs": "ip link set ov0 arp on",
    "ov1 is short": "ip link set ov1 mtu 1500",
    "ov1 is strict": "sysctl -qw net.ipv4.conf.ov1.rp_filter=1",
    "ov0's programs are gone": "",
    "ov1's door is gone": "",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_others_undo_is_mended_by_upkeep(
    engine: BpfEngine, plane: DataPlane, detour: Detour, damage: str
) -> None:
    key = bytearray(SERVICE_KEY.size)
    key[10:12] = b"\xff\xff"
    key[20] = MARK
    plane.service_ids.set(bytes(key), 0)
    try:
        assert marks_of(plane) == {MARK}
        engine.upkeep()
        assert not any("mark" in line for line in engine.upkeep())
        if DAMAGE[damage]:
            subprocess.run(DAMAGE[damage].split(), check=True)
        elif "programs" in damage:
            Hook(plane.path / "links", interface("ov0"), PLACES["onevip_detour"]).detach()
        else:
            Hook(plane.path / "links", interface("ov1"), TC).detach()
        if "flushed" in damage:
            nft(f"table ip users\ndelete table ip users\n{USERS_RULES}")  # the user's own again
        assert any("mark" in line for line in engine.upkeep())
        assert not any("mark" in line for line in engine.upkeep())
        assert comes_through()
    finally:
        plane.service_ids.delete(bytes(key))
    engine.upkeep()
    assert "ov0" not in links()


def test_another_ones_ov0_is_left_alone(plane: DataPlane) -> None:
    ip("link add ov0 type veth peer name another\n")
    try:
        before = links()
        with pytest.raises(DataplaneError, match="interface ov0 that is not ours: rename it"):
            Detour(plane).ensure({MARK})
        Detour(plane).remove()
        assert links() == before
    finally:
        ip("link delete ov0\n")


def test_without_nft_nothing_is_begun(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything()
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: None)
    with pytest.raises(DataplaneError, match="nft not found: apt install nftables"):
        Detour(plane).ensure({MARK})
    assert everything() == before


class Killed(BaseException):
    """The end of a process."""


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """The next so many steps are done, the one after them never. Yields how many were begun."""
    steps = count()
    begun: list[int] = []

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **named: Any) -> Any:
            begun.append(next(steps))
            if begun[-1] == step:
                raise Killed
            return function(*arguments, **named)

        return done

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (netlink, "ask"), (ruleset, "_nft"), (Hook, "attach"), (Path, "write_text"),
            (Path, "touch"), (Path, "unlink"),
        ):  # fmt: skip
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        yield begun


def kills(of: Callable[[], object]) -> Iterator[int]:
    """Runs it again and again, killed one step later each time, until it comes to its end."""
    for step in count():
        try:
            with killed_at(step) as begun:
                of()
        except Killed:
            yield step
        else:
            assert len(begun) == step  # every step was the last one once
            return


def test_whoever_is_killed_while_making_it_leaves_what_the_next_one_mends(
    plane: DataPlane,
) -> None:
    before = everything()
    steps = 0
    for step in kills(lambda: Detour(plane).ensure({MARK})):
        # What there is serves, or nothing takes the detour yet.
        Detour(plane).ensure({MARK})
        assert Detour(plane)._is_right({MARK}), step
        if step % 5 == 0:
            assert comes_through(), step
        Detour(plane).ensure(set())
        assert everything() == before, step
        steps += 1
    assert steps > 10
    Detour(plane).remove()
    for step in kills(lambda: Detour(plane).ensure({MARK})):
        Detour(plane).ensure(set())
        assert everything() == before, step


def test_whoever_is_killed_while_removing_it_leaves_what_the_next_one_removes(
    plane: DataPlane,
) -> None:
    before = everything()
    Detour(plane).ensure({MARK})
    steps = 0
    for step in kills(lambda: Detour(plane).remove()):
        tables, names = everything()[0], [name for _, name in socket.if_nameindex()]
        assert "onevip_marks" not in tables or "ov0" in names, "packets would be lost"
        Detour(plane).remove()
        assert everything() == before, step
        Detour(plane).ensure({MARK})
        steps += 1
    assert steps > 3
    assert everything() == before
