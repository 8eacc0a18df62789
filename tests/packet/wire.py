"""Packets as they stand on the wire, and a director that takes one and says what it did.

    sent = eth() / ip4(CLIENT, VIP) / tcp(40000, 80, "S")
    assert director(sent) == forwarded(director.onward(REAL) / ...)

A director here is one door's program of a real BpfEngine, run by BPF_PROG_TEST_RUN. Connections
are read from the map; nothing is written there but by methods that say so.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import mac2str

from onevip.engines.bpf import BpfEngine, libbpf, loader, shapes
from onevip.engines.bpf.codec import gauge
from onevip.engines.bpf.rows import Rows
from onevip.engines.bpf.shapes import Limits, TcpState
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    Counters,
    DeleteRealServer,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
)
from packet.network import BACK, FRONT, ROUTER, real_address, real_mac

CLIENT = "10.0.64.7"
VIP = "10.0.0.100"
REAL, OTHER_REAL, THIRD_REAL = (real_address(n) for n in (10, 11, 12))
MASQ, IPIP, GATE = ForwardingMethod.MASQ, ForwardingMethod.IPIP, ForwardingMethod.GATE
METHODS = [pytest.param(method, id=method.name.lower()) for method in (GATE, MASQ, IPIP)]
PROTOCOLS = [
    pytest.param(protocol, id=protocol.name.lower()) for protocol in (Protocol.TCP, Protocol.UDP)
]

# include/uapi/linux/pkt_cls.h, include/uapi/linux/bpf.h
VERDICTS = {
    "tc": {-1: "left alone", 2: "dropped", 7: "forwarded"},
    "xdp": {0: "aborted", 1: "dropped", 2: "left alone", 4: "forwarded"},
}
LO = 1
SKB_IFINDEX, SKB_GSO_SIZE, SKB_SIZE = 40, 176, 192  # struct __sk_buff

FRAGMENT_KEY = 12  # struct fragment_key
CACHE_KEY = 24  # struct cache_key
FOREVER = 1 << 24  # clock units: more than the clock has
PHASE_CLAIMED, PHASE_LIVE = 1, 2
IS_LIVE = re.compile(b"[%s]" % re.escape(bytes(range(PHASE_LIVE, 256, 4))), re.DOTALL)


def eth(to: str = FRONT, src: str = ROUTER) -> Any:
    """From the clients' router to the director."""
    return Ether(dst=to, src=src)


def eth_back(real: str = REAL) -> Any:
    """From a real server to the director."""
    return Ether(dst=BACK, src=mac_of(real))


def mac_of(address: str) -> str:
    """Of the neighbour that leads to an address."""
    if not address.startswith("10.1."):
        return ROUTER
    return real_mac(int(IPv4Address(address)) & 0xFFFF)


def ip4(src: str, dst: str, **fields: Any) -> Any:
    return IP(src=src, dst=dst, **fields)


def tcp(sport: int, dport: int, flags: str = "A", **fields: Any) -> Any:
    return TCP(sport=sport, dport=dport, flags=flags, **fields)


def udp(sport: int, dport: int, **fields: Any) -> Any:
    return UDP(sport=sport, dport=dport, **fields)


def icmp(kind: int, code: int, **fields: Any) -> Any:
    return ICMP(type=kind, code=code, **fields)


def recomputed(packet: Any) -> Any:
    """The same packet with every length and checksum worked out by Scapy."""
    packet = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        nth = 1
        while (found := packet.getlayer(layer, nth)) is not None:
            for name in {"chksum", "len"} & found.fields.keys():
                found.delfieldval(name)  # and what Scapy keeps of the bytes that came
            nth += 1
    return Ether(bytes(packet))


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a door did with a packet. A dropped packet has no bytes."""

    name: str
    frame: bytes = b""

    @property
    def packet(self) -> Any:
        return Ether(self.frame)

    @property
    def is_sound(self) -> bool:
        """Every length and checksum is what Scapy works out."""
        return self.frame == bytes(recomputed(self.packet))

    def __repr__(self) -> str:
        return f"<{self.name} {self.packet!r}>" if self.frame else f"<{self.name}>"


def forwarded(packet: Any) -> Verdict:
    return Verdict("forwarded", bytes(packet))


def left_alone(packet: Any) -> Verdict:
    """Given to whoever comes next, no byte changed."""
    return Verdict("left alone", bytes(packet))


DROPPED = Verdict("dropped")


@dataclass(frozen=True)
class Connection:
    """A live connection as it stands in the map."""

    slot: int
    state: TcpState
    active: bool
    real: str
    seen: int


class Director:
    """One door, one table, one VIP."""

    def __init__(self, engine: BpfEngine, plane: loader.DataPlane, door: str) -> None:
        self.engine = engine
        self.plane = plane
        self.door = door
        self.service = ServiceKey(Protocol.TCP, IPv4Address(VIP), 80)
        self._program = loader.load_xdp(plane) if door == "xdp" else plane.program("onevip_tc")
        self._egress = plane.program("onevip_tc_egress")
        self._interfaces = {
            mac: socket.if_nametoindex(name) for mac, name in ((FRONT, "front"), (BACK, "back"))
        }
        self._connections = plane.tables.open(writable=True)[0]
        self._retransmitted = 0
        self._slots: dict[bytes, int] = {}  # where connections were found
        self._fragments = libbpf.get_pinned(plane.path / "maps" / "fragments")
        self._caches = libbpf.get_pinned(plane.path / "maps" / "caches")
        self._settings_at_load = plane.settings._map[:]

    def __repr__(self) -> str:
        return f"<Director by {self.door}>"

    def forget(self) -> None:
        """As it was after loading: no services, no connections; ways are kept for ever."""
        self.apply(Clear())
        used = self.plane.settings
        reals, services = used.get(0, "reals_used"), used.get(0, "services_used")
        self._forget_connections()
        for index in range(reals):
            self.plane.reals.clear(index)
            self.plane.real_counts.clear(index)
        for index in range(services):
            self.plane.services.clear(index)
        for fd, size in ((self._fragments, FRAGMENT_KEY), (self._caches, CACHE_KEY)):
            for key in libbpf.map_keys(fd, size):
                libbpf.map_delete(fd, key)
        used._map[:] = self._settings_at_load
        self.plane.filter.rebuild([])
        used.set(0, "hop_lifetime", FOREVER)

    def _forget_connections(self) -> None:
        for table in self.plane.tables.open(writable=True):
            table._map[:] = bytes(len(table._map))
        report = self.plane.report  # what the sweeper has seen would make the table grow
        report.set_many(0, "counted", (0,) * Limits.TABLES)
        report.set_many(0, "segment", (0,) * Limits.TABLES * Limits.SEGMENTS)
        self._connections = self.plane.tables.open(writable=True)[0]

    # Packets.

    def __call__(self, packet: Any, gso_size: int = 0) -> Verdict:
        """Take a packet. `gso_size`: tc only, it stands for several on the wire."""
        frame = bytes(packet)
        ways = self._ways()
        verdict = self._run(frame, gso_size)
        if self.door == "xdp" and verdict.name == "left alone" and self._ways() != ways:
            # One first packet in eight goes to tc on purpose, for the neighbour's sake; the
            # client's retransmission finds the way known.
            self._retransmitted += 1
            verdict = self._run(frame, gso_size)
        return verdict

    def sends(self, packet: Any) -> Verdict:
        """What becomes of a packet that the director's own stack sends."""
        number, out, _ = libbpf.run_program(self._egress, bytes(packet))
        return Verdict(VERDICTS["tc"].get(number, f"verdict {number}"), out)

    def _run(self, frame: bytes, gso_size: int) -> Verdict:
        context = bytearray()
        if self.door == "tc":
            context = bytearray(SKB_SIZE)
            arrived = self._interfaces.get(Ether(frame).dst, self._interfaces[FRONT])
            struct.pack_into("=I", context, SKB_IFINDEX, arrived)
            struct.pack_into("=I", context, SKB_GSO_SIZE, gso_size)
        else:
            self.arrives_for(self._mac_of_ours(frame))
        number, out, _ = libbpf.run_program(self._program, frame, context=bytes(context))
        name = VERDICTS[self.door].get(number, f"verdict {number}")
        return Verdict(name, b"" if name == "dropped" else out)

    def _mac_of_ours(self, frame: bytes) -> str:
        """That of the interface by which a frame arrives."""
        to: str = Ether(frame).dst
        return to if to in self._interfaces else FRONT

    def arrives_for(self, mac: str) -> None:
        """A test run of xdp arrives by lo: it gets this MAC."""
        self.plane.own_macs.set(LO, "mac", 1 << 63 | int.from_bytes(mac2str(mac), "little"))
        self.plane.own_macs.set(LO, "interface", LO)

    def onward(self, to: str) -> Any:
        """The Ethernet header of what is sent to an address.

        After the tc door the kernel writes the MACs of the hop that the program named: what
        the program leaves is the header that came.
        """
        from_clients = mac_of(to) != ROUTER
        if self.door == "xdp":
            return Ether(dst=mac_of(to), src=BACK if from_clients else FRONT)
        return eth() if from_clients else eth_back()

    def _ways(self) -> bytes:
        reals = self.plane.reals
        return bytes(
            byte
            for slot in range(self.plane.settings.get(0, "reals_used"))
            for byte in reals.get_bytes(slot, "hop_checked")
        )

    # Table.

    def add_service(
        self, scheduler: str = "rr", protocol: Protocol = Protocol.TCP,
        flags: SchedulerFlag = SchedulerFlag.NONE,
    ) -> None:  # fmt: skip
        self.service = ServiceKey(protocol, IPv4Address(VIP), 80)
        self.apply(AddService(self.service, scheduler, ServiceOptions(flags)))

    def add(
        self, address: str = REAL, method: ForwardingMethod = GATE, *, weight: int = 1,
        port: int = 80,
    ) -> None:  # fmt: skip
        self.apply(
            AddRealServer(self.service, RealServer(IPv4Address(address), port, method, weight))
        )

    def edit(
        self, address: str = REAL, method: ForwardingMethod = GATE, *, weight: int = 1,
        port: int = 80,
    ) -> None:  # fmt: skip
        self.apply(
            EditRealServer(self.service, RealServer(IPv4Address(address), port, method, weight))
        )

    def delete(self, address: str = REAL, port: int = 80) -> None:
        self.apply(DeleteRealServer(self.service, RealServerKey(IPv4Address(address), port)))

    def schedule_by(self, scheduler: str) -> None:
        self.apply(EditService(self.service, scheduler))

    def apply(self, *changes: Change) -> None:
        self.engine.apply(changes)

    @property
    def clock_unit_s(self) -> float:
        """What the connections' clock counts in: the least difference of ages."""
        settings = self.plane.settings
        unit: float = (1 << settings.get(0, "clock_shift")) / settings.get(0, "hz")
        return unit

    # What came of it.

    def counters(self, address: str | None = REAL, port: int = 80) -> Counters:
        """Of a real server; of the service for None."""
        key = None if address is None else RealServerKey(IPv4Address(address), port)
        return self.engine.snapshot(self.service).counters[self.service, key]

    def totals(self) -> Counters:
        """Without the rates, which the estimator moves on its own every two seconds."""
        counters = self.counters()
        rates = {field.name: 0 for field in fields(counters) if field.name.endswith("_rate")}
        return replace(counters, **rates)

    def active_inactive(self, address: str = REAL, port: int = 80) -> tuple[int, int]:
        """ActiveConn and InActConn, as `ipvsadm -L` shows them."""
        counters = self.counters(address, port)
        return counters.active, counters.inactive

    def rows(self) -> dict[str, list[int]]:
        """Weight, Active, InAct of every real server."""
        rows = Rows(self.plane)
        found = {}
        for member in rows.list_of(rows.service_index(self.service)).members:
            counts = self.plane.real_counts.get(member.real, "counts")
            found[self._address(member.real)] = [member.weight, gauge(counts >> 32), gauge(counts)]
        return found

    @contextmanager
    def counted(self, **expected: int) -> Iterator[None]:
        """What the door counts meanwhile is this and nothing else."""
        before = self.engine.door_counters()[self.door]
        before["handed_over"] -= self._retransmitted
        yield
        after = self.engine.door_counters()[self.door]
        after["handed_over"] -= self._retransmitted
        seen = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        assert seen == expected

    def way(self, address: str = REAL) -> tuple[int, str]:
        """Interface and neighbour by which the tc door sends to a real server."""
        reals = self.plane.reals
        for slot in range(self.plane.settings.get(0, "reals_used")):
            if self._address(slot) == address:
                raw = reals.get_bytes(slot, "hop_address")
                return reals.get(slot, "hop_interface"), str(IPv4Address(raw[12:]))
        raise LookupError(address)

    def _address(self, slot: int) -> str:
        return str(IPv4Address(self.plane.reals.get_bytes(slot, "address")[12:]))

    def connection(
        self, client_port: int = 40000, *, client: str = CLIENT, vip_port: int = 80
    ) -> Connection | None:
        """The live connection of a client to the VIP, or None."""
        raw = struct.pack(">4sHH", IPv4Address(client).packed, client_port, vip_port)
        slot = self._slots.get(raw)
        if slot is None or not self._is_live(slot, raw):
            slot = next((slot for slot in self._live() if self._is_live(slot, raw)), None)
        if slot is None:
            return None
        self._slots[raw] = slot
        table = self._connections
        control = table.get(slot, "control")
        return Connection(
            slot,
            TcpState(control >> 4 & 15),
            bool(control >> 2 & 1),
            self._address(table.get(slot, "real")),
            control >> 40,
        )

    def _is_live(self, slot: int, raw: bytes) -> bool:
        """Whether there is a connection of this client address, client port and VIP's port."""
        table = self._connections
        ports = table.get_bytes(slot, "client_port") + table.get_bytes(slot, "vip_port")
        key = table.get_bytes(slot, "client")[12:] + ports
        return table.get(slot, "control") & 3 == PHASE_LIVE and key == raw

    def connections(self) -> int:
        """How many live."""
        return len(self._live())

    def _live(self) -> list[int]:
        """Slots of live connections."""
        phases = self._connections.column("control")
        return [found.start() for found in IS_LIVE.finditer(phases)]

    def put_in_state(self, client_port: int, state: TcpState, *, active: bool) -> None:
        """Writes the map: for states that no packet leads to. The only connection there is."""
        connection = self.connection(client_port)
        assert connection is not None
        table, slot = self._connections, connection.slot
        control = table.get(slot, "control") & ~(15 << 4 | 1 << 2)
        table.set(slot, "control", control | state << 4 | active << 2)
        self.plane.real_counts.set(table.get(slot, "real"), "counts", 1 << 32 if active else 1)

    @contextmanager
    def every_free_slot_taken(self) -> Iterator[None]:
        """Writes the map: all free slots look claimed."""
        table = self._connections._words
        step = shapes.CONNECTION.size // 8
        free = [at for at, control in enumerate(table[::step].tolist()) if control & 3 == 0]
        for slot in free:
            table[slot * step] |= PHASE_CLAIMED
        try:
            yield
        finally:
            for slot in free:
                table[slot * step] &= ~PHASE_CLAIMED

    def set_timeouts(self, units: int) -> None:
        """Every timeout, in clock units."""
        self.plane.settings.set_many(0, "tcp_timeout", (units,) * 16)
        self.plane.settings.set(0, "udp_timeout", units)
