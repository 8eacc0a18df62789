"""Probes by way of the VIP: what becomes of their packets on the way out, and of the answers.

The director is 10.1.0.1 towards its real servers; Scapy works out what has to stand where.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from onevip import namespace
from onevip.engines.bpf import BpfEngine, check_paths, libbpf, loader, pins
from onevip.engines.bpf.check_paths import MARKS, CheckPaths
from onevip.engines.bpf.doors import Filter, interface
from onevip.health.tools import Tools
from onevip.model import (
    Check,
    CheckPath,
    CheckType,
    DataplaneError,
    ForwardingMethod,
    Protocol,
    RealServerKey,
    ServiceKey,
)
from packet.network import BACK, director_namespace, ip
from packet.wire import (
    DROPPED,
    GATE,
    IPIP,
    MASQ,
    OTHER_REAL,
    REAL,
    SKB_IFINDEX,
    SKB_SIZE,
    VERDICTS,
    VIP,
    Verdict,
    icmp,
    ip4,
    left_alone,
    mac_of,
    recomputed,
    tcp,
    udp,
)

DIRECTOR, FAR = "10.1.0.1", "192.0.2.1"
SKB_MARK = 8  # struct __sk_buff
HOPS, TUNNEL_TTL = 2, 63


def path(
    real: str = REAL, method: ForwardingMethod = GATE, *, vip: str = VIP, port: int = 80
) -> CheckPath:
    address = IPv4Address(real)
    service = ServiceKey(Protocol.TCP, IPv4Address(vip), port)
    return CheckPath(service, RealServerKey(address, port), method)


class Paths:
    """The programs, with the marks of some paths."""

    def __init__(self) -> None:
        self.made = CheckPaths()

    def use(self, *paths: CheckPath) -> dict[CheckPath, int]:
        with pins.writer_lock():
            return self.made.use(paths)

    def end(self) -> None:
        with pins.writer_lock():
            self.made.end()

    def _run(self, program: str, frame: Any, mark: int) -> tuple[Verdict, int]:
        loaded = self.made._loaded
        assert loaded is not None
        context = bytearray(SKB_SIZE)
        struct.pack_into("=I", context, SKB_IFINDEX, interface("back").index)
        struct.pack_into("=I", context, SKB_MARK, mark)
        number, out, after = libbpf.run_program(
            loaded.programs[program], bytes(frame), context=bytes(context)
        )
        name = VERDICTS["tc"].get(number, f"verdict {number}")
        verdict = Verdict(name, b"" if name == "dropped" else out)
        return verdict, struct.unpack_from("=I", after, SKB_MARK)[0]

    def sends(self, packet: Any, mark: int) -> Verdict:
        """What leaves the machine of a packet of its own."""
        frame = Ether(src=BACK, dst=mac_of(REAL)) / packet
        verdict, left = self._run("onevip_check_out", frame, mark)
        if verdict.frame and verdict != left_alone(frame):
            assert left == 0, "its mark goes no further"
        return verdict

    def receives(self, packet: Any, *, real: str = REAL, to: str = BACK) -> Verdict:
        """What the IP stack sees of a packet that comes in."""
        return self._run("onevip_check_in", Ether(src=mac_of(real), dst=to) / packet, 0)[0]


@pytest.fixture(scope="module")
def _network() -> Iterator[None]:
    with director_namespace():
        yield


@pytest.fixture
def paths(_network: None) -> Iterator[Paths]:
    """Without any path, and none afterwards."""
    made = Paths()
    yield made
    made.end()


def out(packet: Any) -> Verdict:
    """The frame that goes to the real server, all lengths and checksums worked out by Scapy."""
    return left_alone(recomputed(Ether(src=BACK, dst=mac_of(REAL)) / packet))


def seen(packet: Any, *, real: str = REAL) -> Verdict:
    return left_alone(recomputed(Ether(src=mac_of(real), dst=BACK) / packet))


QUESTIONS = {
    "SYN": tcp(40000, 80, "S", options=[("MSS", 1460)]),
    "data": tcp(40000, 80, "PA") / b"GET / HTTP/1.0\r\n\r\n",
    "datagram": udp(40000, 53) / b"who is it",
    "empty datagram": udp(40000, 53),
    "echo": icmp(8, 0, id=4711, seq=3) / b"onevip",
}
ANSWERS = {
    "SYN": tcp(80, 40000, "SA", options=[("MSS", 1460)]),
    "data": tcp(80, 40000, "PA") / b"HTTP/1.0 200 OK\r\n\r\nodd",
    "datagram": udp(53, 40000) / b"it is I",
    "empty datagram": udp(53, 40000),
    "echo": icmp(0, 0, id=4711, seq=3) / b"onevip",
}
EACH = pytest.mark.parametrize("kind", QUESTIONS)


@EACH
def test_gate_brings_the_question_as_the_vips_packet(paths: Paths, kind: str) -> None:
    """Only the destination changes, and the TTL: it may be handed on once."""
    marks = paths.use(path())
    asked = paths.sends(ip4(DIRECTOR, REAL, id=5, flags="DF") / QUESTIONS[kind], marks[path()])
    assert asked == out(ip4(DIRECTOR, VIP, id=5, flags="DF", ttl=HOPS) / QUESTIONS[kind])


@EACH
def test_ipip_brings_it_in_an_outer_header(paths: Paths, kind: str) -> None:
    marks = paths.use(path(method=IPIP))
    question = ip4(DIRECTOR, REAL, id=5, flags="DF", tos=0x10) / QUESTIONS[kind]
    asked = paths.sends(question, marks[path(method=IPIP)])
    inner = ip4(DIRECTOR, VIP, id=5, flags="DF", tos=0x10, ttl=HOPS) / QUESTIONS[kind]
    outer = ip4(DIRECTOR, REAL, id=0, flags="DF", tos=0x10, ttl=TUNNEL_TTL, proto=4)
    assert asked == out(outer / inner)


@EACH
def test_the_answer_comes_from_the_real_server_again(paths: Paths, kind: str) -> None:
    marks = paths.use(path())
    paths.sends(ip4(DIRECTOR, REAL) / QUESTIONS[kind], marks[path()])
    answer = paths.receives(ip4(VIP, DIRECTOR, id=9, ttl=64) / ANSWERS[kind])
    assert answer == seen(ip4(REAL, DIRECTOR, id=9, ttl=64) / ANSWERS[kind])


def test_a_datagram_without_checksum_stays_without(paths: Paths) -> None:
    marks = paths.use(path())
    bare = udp(40000, 53, chksum=0) / b"who"
    asked = paths.sends(ip4(DIRECTOR, REAL) / bare, marks[path()])
    assert asked.packet[IP].dst == VIP
    assert asked.packet[UDP].chksum == 0


def test_ip_options_are_no_hindrance(paths: Paths) -> None:
    marks = paths.use(path())
    options = [IPOption_NOP()] * 4
    asked = paths.sends(ip4(DIRECTOR, REAL, options=options) / QUESTIONS["SYN"], marks[path()])
    assert asked == out(ip4(DIRECTOR, VIP, options=options, ttl=HOPS) / QUESTIONS["SYN"])


def test_each_answer_goes_to_the_one_who_asked(paths: Paths) -> None:
    """Two real servers of one VIP and port: only the director's own port tells them apart."""
    marks = paths.use(path(REAL), path(OTHER_REAL, IPIP))
    paths.sends(ip4(DIRECTOR, REAL) / tcp(40000, 80, "S"), marks[path(REAL)])
    paths.sends(ip4(DIRECTOR, OTHER_REAL) / tcp(40001, 80, "S"), marks[path(OTHER_REAL, IPIP)])
    for port, real in ((40001, OTHER_REAL), (40000, REAL)):
        answer = paths.receives(ip4(VIP, DIRECTOR) / tcp(80, port, "SA"), real=real)
        assert answer == seen(ip4(real, DIRECTOR) / tcp(80, port, "SA"), real=real)


def test_a_check_may_go_to_another_port_of_the_vip(paths: Paths) -> None:
    marks = paths.use(path())
    asked = paths.sends(ip4(DIRECTOR, REAL) / tcp(40000, 8080, "S"), marks[path()])
    assert asked == out(ip4(DIRECTOR, VIP, ttl=HOPS) / tcp(40000, 8080, "S"))


@pytest.mark.parametrize("mark", [0, 7, MARKS + 4711], ids=["none", "a user's", "of nobody"])
def test_without_a_mark_of_ours_nothing_is_changed(paths: Paths, mark: int) -> None:
    paths.use(path())
    question = ip4(DIRECTOR, REAL) / QUESTIONS["SYN"]
    unchanged = left_alone(Ether(src=BACK, dst=mac_of(REAL)) / question)
    assert paths.sends(question, mark) == unchanged


@pytest.mark.parametrize(
    "packet",
    [
        ip4(DIRECTOR, OTHER_REAL) / QUESTIONS["SYN"],
        IPv6(src="2001:db8::1", dst="2001:db8::2") / tcp(40000, 80, "S"),
    ],
    ids=["another real server", "IPv6"],
)
def test_what_others_send_with_the_same_mark_is_left_alone(paths: Paths, packet: Any) -> None:
    marks = paths.use(path())
    unchanged = left_alone(Ether(src=BACK, dst=mac_of(REAL)) / packet)
    assert paths.sends(packet, marks[path()]) == unchanged


@pytest.mark.parametrize(
    "packet",
    [
        ip4(DIRECTOR, REAL, flags="MF") / udp(40000, 53) / bytes(64),
        ip4(DIRECTOR, REAL, frag=8, proto=17) / bytes(64),
        ip4(DIRECTOR, REAL) / icmp(13, 0),
        ip4(DIRECTOR, REAL, proto=132) / bytes(32),
    ],
    ids=["first fragment", "later fragment", "ICMP but no echo", "SCTP"],
)
def test_what_cannot_go_along_the_data_path_goes_nowhere(paths: Paths, packet: Any) -> None:
    """An answer to it would say something of another way."""
    marks = paths.use(path())
    assert paths.sends(packet, marks[path()]) == DROPPED


@pytest.mark.parametrize(
    "packet",
    [
        ip4(VIP, DIRECTOR) / tcp(80, 40001, "SA"),
        ip4(VIP, DIRECTOR) / tcp(81, 40000, "SA"),
        ip4(VIP, DIRECTOR) / udp(80, 40000),
        ip4(REAL, DIRECTOR) / tcp(80, 40000, "SA"),
        ip4(VIP, "10.1.0.2") / tcp(80, 40000, "SA"),
        ip4(VIP, DIRECTOR, frag=8, proto=6) / bytes(64),
        ip4(VIP, DIRECTOR) / icmp(0, 0, id=4711, seq=4),
        ip4(VIP, DIRECTOR) / icmp(8, 0, id=4711, seq=3),
    ],
    ids=["other port", "other port of the VIP", "other protocol", "not from the VIP",
         "not to us", "fragment", "other echo", "an echo to us"],
)  # fmt: skip
def test_what_nobody_asked_for_is_left_alone(paths: Paths, packet: Any) -> None:
    marks = paths.use(path())
    paths.sends(ip4(DIRECTOR, REAL) / QUESTIONS["SYN"], marks[path()])
    paths.sends(ip4(DIRECTOR, REAL) / QUESTIONS["echo"], marks[path()])
    assert paths.receives(packet) == left_alone(Ether(src=mac_of(REAL), dst=BACK) / packet)


def test_frames_to_others_and_tagged_ones_are_left_alone(paths: Paths) -> None:
    """They come again if they are for us: at the bridge, at the VLAN's own interface."""
    marks = paths.use(path())
    paths.sends(ip4(DIRECTOR, REAL) / QUESTIONS["SYN"], marks[path()])
    answer = ip4(VIP, DIRECTOR) / ANSWERS["SYN"]
    other = "02:00:00:00:00:99"
    unchanged = left_alone(Ether(src=mac_of(REAL), dst=other) / answer)
    assert paths.receives(answer, to=other) == unchanged
    tagged = Dot1Q(vlan=7) / answer
    assert paths.receives(tagged) == left_alone(Ether(src=mac_of(REAL), dst=BACK) / tagged)


def quoted(packet: Any, ttl: int = HOPS) -> Any:
    """As it stood on the wire at the real server, the first eight bytes of what IP carries."""
    sent = IP(bytes(packet))
    sent.ttl = ttl
    del sent.chksum
    return IP(bytes(sent)[: 20 + 8])


@pytest.mark.parametrize("kind", ["SYN", "datagram", "echo"])
@pytest.mark.parametrize(
    ("who", "source", "error"),
    [
        (VIP, REAL, icmp(3, 3)),
        (REAL, REAL, icmp(11, 0)),
        (FAR, FAR, icmp(3, 1)),
    ],
    ids=["nobody listens", "it has no VIP", "a router"],
)
def test_errors_speak_of_the_packet_that_the_socket_sent(
    paths: Paths, kind: str, who: str, source: str, error: Any
) -> None:
    marks = paths.use(path())
    paths.sends(ip4(DIRECTOR, REAL, id=5) / QUESTIONS[kind], marks[path()])
    told = paths.receives(
        ip4(who, DIRECTOR) / error / quoted(ip4(DIRECTOR, VIP, id=5) / QUESTIONS[kind])
    )
    # What IP carries is quoted as it was on the wire: the kernel reads its ports.
    header = bytes(quoted(ip4(DIRECTOR, REAL, id=5) / QUESTIONS[kind]))[:20]
    about = header + bytes(quoted(ip4(DIRECTOR, VIP, id=5) / QUESTIONS[kind]))[20:]
    expected = Ether(src=mac_of(REAL), dst=BACK) / ip4(source, DIRECTOR) / error / about
    assert told == left_alone(expected)


def test_an_error_about_the_tunnel_is_one_about_what_was_in_it(paths: Paths) -> None:
    """A real server without an end of the tunnel: protocol unreachable (RFC 792)."""
    marks = paths.use(path(method=IPIP))
    question = ip4(DIRECTOR, REAL, id=5) / QUESTIONS["SYN"]
    sent = paths.sends(question, marks[path(method=IPIP)]).packet[IP]
    told = paths.receives(ip4(REAL, DIRECTOR) / icmp(3, 2) / IP(bytes(sent)))
    inner = IP(bytes(sent.payload))
    inner.dst = REAL
    del inner.chksum
    expected = ip4(REAL, DIRECTOR) / icmp(3, 2) / bytes(inner)
    assert told == left_alone(Ether(src=mac_of(REAL), dst=BACK) / expected)


@pytest.mark.parametrize(
    "about",
    [
        ip4(DIRECTOR, FAR, proto=4) / bytes(8),
        ip4(DIRECTOR, FAR) / tcp(40000, 80, "S"),
        ip4(DIRECTOR, FAR, proto=4) / ip4(DIRECTOR, FAR) / tcp(40000, 80, "S"),
    ],
    ids=["a short quote", "another's packet", "another's tunnel"],
)
def test_errors_about_what_others_sent_are_left_alone(paths: Paths, about: Any) -> None:
    paths.use(path())
    error = ip4(FAR, DIRECTOR) / icmp(3, 2) / about
    assert paths.receives(error) == left_alone(Ether(src=mac_of(REAL), dst=BACK) / error)


# Who gets which mark, and what is attached.


@pytest.fixture
def engine(_network: None) -> Iterator[BpfEngine]:
    engine = BpfEngine()
    yield engine
    engine.check_paths(())
    engine.unload()


def at_hook(where: str, hook: int) -> list[str]:
    """The names of the programs of ours at a tcx hook."""
    found, count = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(64)
    lib = ctypes.CDLL("libbpf.so.1")
    index = interface(where).index
    assert lib.bpf_prog_query(index, hook, 0, None, found, ctypes.byref(count)) == 0
    names = []
    for number in found[: count.value]:
        fd = lib.bpf_prog_get_fd_by_id(number)
        names.append(libbpf.object_info(fd)[64:80].rstrip(b"\0").decode())
        os.close(fd)
    return [name for name in names if name.startswith("onevip_check")]


needs_tcx = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 6),
    reason="tcx came with Linux 6.6",
)


@needs_tcx
def test_nothing_is_attached_but_while_a_check_needs_it(engine: BpfEngine) -> None:
    ingress, egress = libbpf.ATTACH_TCX_INGRESS, libbpf.ATTACH_TCX_EGRESS
    assert engine.check_paths([]) == {}
    assert at_hook("back", ingress) == []
    engine.check_paths([path()])
    for where in ("front", "back"):
        assert at_hook(where, ingress) == ["onevip_check_in"]
        assert at_hook(where, egress) == ["onevip_check_out"[:15]]
    assert at_hook("lo", ingress) == at_hook("lo", egress) == []
    assert engine.check_paths([]) == {}
    assert at_hook("back", ingress) == at_hook("back", egress) == []


def test_a_path_keeps_its_mark_and_a_new_one_gets_a_new_one(paths: Paths) -> None:
    """So that a probe which still runs is led to no other real server."""
    first = paths.use(path(REAL))
    both = paths.use(path(REAL), path(OTHER_REAL))
    assert both[path(REAL)] == first[path(REAL)]
    later = paths.use(path(OTHER_REAL, IPIP))
    assert len({*both.values(), *later.values()}) == 3
    question = ip4(DIRECTOR, REAL) / QUESTIONS["SYN"]
    unchanged = left_alone(Ether(src=BACK, dst=mac_of(REAL)) / question)
    assert paths.sends(question, both[path(REAL)]) == unchanged


def test_only_what_leads_out_has_a_mark(engine: BpfEngine) -> None:
    own = path("10.1.0.1")
    marked = CheckPath(ServiceKey.of_mark(7), path().real, GATE)
    out_of_reach = path("192.0.2.77")
    given = engine.check_paths([path(), own, path(method=MASQ), marked, out_of_reach])
    assert given.keys() == {path(), out_of_reach}


def test_an_interface_without_ethernet_header_leads_nowhere(engine: BpfEngine) -> None:
    ip("tuntap add dev bare mode tun\naddr add 10.9.0.1/24 dev bare\nlink set bare up\n")
    try:
        assert engine.check_paths([path("10.9.0.2")]) == {}
    finally:
        ip("link delete bare\n")


def test_two_daemons_do_not_share_marks(paths: Paths) -> None:
    other = Paths()
    try:
        mine, theirs = paths.use(path()), other.use(path())
        assert mine[path()] != theirs[path()]
        question = ip4(DIRECTOR, REAL) / QUESTIONS["SYN"]
        changed = out(ip4(DIRECTOR, VIP, ttl=HOPS) / QUESTIONS["SYN"])
        assert paths.sends(question, mine[path()]) == changed
        assert other.sends(question, theirs[path()]) == changed
        assert paths.sends(question, theirs[path()]) != changed
    finally:
        other.end()


def test_there_is_a_limit_of_daemons(paths: Paths) -> None:
    claimed = [check_paths._claim() for _ in range(check_paths.DAEMONS)]
    assert [number for number, _ in claimed] == list(range(check_paths.DAEMONS))
    try:
        with pytest.raises(DataplaneError, match="16 daemons here have such checks"):
            paths.use(path())
    finally:
        for _, lock in claimed:
            os.close(lock)
    assert paths.use(path())  # they have ended, and left their files
    paths.end()
    assert not list(namespace.run_directory().glob("checks-*"))


@pytest.fixture
def without_tcx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on 6.1."""
    monkeypatch.setattr(check_paths, "tcx_link", lambda *_: None)


def filters(number: int = 0) -> set[str]:
    """Where the filters of the daemon of this number are."""
    return {
        f"{place.name} {name}"
        for name in ("front", "back", "lo")
        for place in check_paths._places(number).values()
        if Filter(interface(name), place).is_attached()
    }


EVERYWHERE = {f"check-{way} {name}" for way in ("in", "out") for name in ("front", "back")}


def qdiscs() -> str:
    shown = ["tc", "qdisc", "show"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout


@pytest.mark.usefixtures("without_tcx")
def test_filters_go_as_links_do(engine: BpfEngine) -> None:
    engine.check_paths([path()])
    assert filters() == EVERYWHERE
    engine.check_paths([])
    assert filters() == set()
    assert "clsact" not in qdiscs()


@pytest.mark.usefixtures("without_tcx")
def test_filters_of_a_killed_daemon_go_with_the_next_one_or_with_the_data_plane(
    engine: BpfEngine,
) -> None:
    def killed(first: BpfEngine) -> None:
        first.check_paths([path()])
        os.close(first._check_paths._lock)  # the kernel releases its lock
        first._check_paths._lock = -1

    killed(BpfEngine())
    assert filters() == EVERYWHERE
    engine.check_paths([])
    assert filters() == set()
    killed(BpfEngine())
    engine.unload()
    assert filters() == set()
    killed(BpfEngine())
    engine.check_paths([path()])  # takes the number, and the places, of the dead one
    assert filters() == EVERYWHERE
    assert filters(1) == set()


@pytest.mark.usefixtures("without_tcx")
def test_a_living_daemons_filters_stay(engine: BpfEngine) -> None:
    other = BpfEngine()
    other.check_paths([path()])
    engine.check_paths([path()])
    engine.check_paths([])
    engine.unload()
    assert filters(0) == EVERYWHERE
    other.check_paths([])
    assert filters(0) == set()


@pytest.mark.usefixtures("without_tcx")
def test_upkeep_puts_back_what_others_took_away(engine: BpfEngine) -> None:
    engine.check_paths([path()])
    subprocess.run(["tc", "qdisc", "del", "dev", "back", "clsact"], check=True)
    assert filters() != EVERYWHERE
    engine.upkeep()
    assert filters() == EVERYWHERE


def test_interfaces_are_followed(engine: BpfEngine) -> None:
    engine.check_paths([path()])
    held = engine._check_paths._held
    before = len(held)
    ip("link add late type veth peer name later\n")
    try:
        assert engine.follow_interfaces() == []
        assert len(held) == before + 4
    finally:
        ip("link delete late\n")
    engine.follow_interfaces()
    assert len(held) == before


def test_the_doors_detach_without_the_checks(engine: BpfEngine) -> None:
    with pins.writer_lock() as base:
        loader.load(base)
    engine.attach("back", "tc")
    engine.check_paths([path()])
    engine.detach(None, "tc")
    held = engine._check_paths._held.values()
    assert len(held) == 8  # both ends of both pairs are here
    assert all(one.is_attached() for one in held)


# Sockets.


def test_no_two_probes_have_the_same_port(engine: BpfEngine) -> None:
    """Else answers by way of one VIP could not be told apart. UDP has one port for one anyway."""
    paths = [path(REAL), path(OTHER_REAL)]
    marks = engine.check_paths(paths)
    tools = Tools(search=None, mark_of=lambda check: marks[check.path])  # type: ignore[arg-type,index]
    few = Path("/proc/sys/net/ipv4/ip_local_port_range")
    before = few.read_text()
    few.write_text("40000 40799")
    sockets = []
    try:
        for _ in range(300):
            for one in paths:
                check = Check(CheckType.CONNECT, one.real.address, 80, 3, 1, path=one)
                sockets.append(tools.socket(check, socket.SOCK_STREAM))
                with pytest.raises(BlockingIOError):
                    sockets[-1].connect((str(one.real.address), 80))
        ports = {made.getsockname()[1] for made in sockets}
        assert len(ports) == len(sockets)
    finally:
        few.write_text(before)
        for made in sockets:
            made.close()


def test_a_probe_keeps_no_port_when_it_has_ended(engine: BpfEngine) -> None:
    """A minute of TIME_WAIT each would leave none for a thousand checks a second."""
    (mark,) = engine.check_paths([path()]).values()
    tools = Tools(search=None, mark_of=lambda _: mark)  # type: ignore[arg-type]
    local = Check(CheckType.CONNECT, IPv4Address("127.0.0.1"), 80, 3, 1, path=path())
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asking = tools.socket(local, socket.SOCK_STREAM)
        asking.setblocking(True)
        asking.connect(server.getsockname())
        port = asking.getsockname()[1]
        answering, _ = server.accept()
        asking.close()
        answering.close()
        table = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    assert f"0100007F:{port:04X}" not in [line.split()[1] for line in table]
