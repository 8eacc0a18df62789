"""Lives of a director for Hypothesis: which tables, edits, packets and waits there may be.

Few addresses and ports, so that packets meet; every service has real servers, and every pair of
VIP and port client ports, of its own, so that no two connections have equal replies.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from hypothesis import strategies as st

from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    Timeouts,
    Zero,
)
from onevip.model.service import SCHEDULERS
from onevip.reference import Packet
from packet.twins import Twins

VIPS = tuple(map(IPv4Address, ("10.0.0.100", "10.0.0.101", "10.0.128.5", "10.0.128.6")))
CLIENTS = tuple(
    map(IPv4Address, ("10.0.64.7", "10.0.64.8", "10.0.64.200", "10.0.65.7", "10.0.65.8"))
)
MARK = 7
TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
SERVICES = (
    ServiceKey(TCP, VIPS[0], 80),
    ServiceKey(TCP, VIPS[0], 0),
    ServiceKey(TCP, VIPS[0], 21),
    ServiceKey(UDP, VIPS[0], 53),
    ServiceKey(UDP, VIPS[0], 0),
    ServiceKey(SCTP, VIPS[0], 80),
    ServiceKey(TCP, VIPS[1], 80),
    ServiceKey.of_mark(MARK),
)
PORTS = (80, 21, 53, 8080, 20, 900, 30000)
FLAGS = ("A", "A", "A", "FA", "FA", "FA", "S", "S", "S", "R", "RA", "SA", "PA", "F", "SF", "SR", "")
FIRST_FLAGS = ("S",) * 20 + FLAGS
CHUNKS = (
    (1,), (2,), (10,), (10,), (11,), (11,), (0,), (7,), (8,), (14,), (6,), (9,), (3,), (11, 6),
)  # fmt: skip
FIRST_CHUNKS = ((1,),) * 20 + CHUNKS
SCHEDULER_FLAGS = tuple(map(SchedulerFlag, (0, 0x8, 0x10, 0x18)))
WEIGHTS = (1, 1, 1, 2, 3, 4, 10, 0, 0, 100)
THRESHOLDS = ((0, 0), (0, 0), (0, 0), (0, 0), (1, 0), (2, 1), (4, 0), (4, 0), (4, 2), (1, 2))
PERSISTENCE = (0, 0, 50, 77, 360)
ONE_PACKET = (False, False, False, True)
MASKS = (None, IPv4Address("255.255.255.0"))
METHODS = (ForwardingMethod.MASQ, ForwardingMethod.MASQ, ForwardingMethod.GATE)
WAITS = (1, 1, 2, 3, 5, 9, 10, 11, 29, 61, 121, 301)
TIMEOUTS = (Timeouts(), Timeouts(20, 7, 13), Timeouts(61, 120, 300), Timeouts(100, 1, 2))
TUNABLES = (
    ("conn_reuse_mode", (0, 1, 2, 3)),
    ("expire_nodest_conn", (0, 1)),
    ("expire_quiescent_template", (0, 1)),
    ("secure_tcp", (0, 3)),
    ("sloppy_tcp", (0, 1)),
    ("sloppy_sctp", (0, 1)),
    ("run_estimation", (0, 1)),
)

NUMBERS = st.binary(min_size=7, max_size=7)
#: A step is its name and numbers, each of which chooses among what there is at that moment.
STEP = st.tuples(
    st.sampled_from(
        ["packet"] * 14 + ["again"] * 8 + ["reply"] * 6 + ["wait"] * 3 + ["server"] * 2
        + ["edit"] * 2 + ["delete server", "service", "delete service", "zero", "clear",
        "timeouts", "tunable"]
    ),
    NUMBERS,
)  # fmt: skip
STEPS = st.lists(STEP, min_size=50, max_size=150)
BUILT = st.lists(
    st.tuples(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=5)), min_size=1, max_size=3
)


class Life:
    """What the names of steps mean to twins."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins

    def build(self, built: list[tuple[bytes, list[bytes]]]) -> None:
        """Services with real servers, before the first step."""
        for service, servers in built:
            self.step("service", service)
            key = _of(SERVICES, service[0])
            for numbers in servers:
                self._twins.change(AddRealServer(key, self._real_server(key, numbers)))

    def step(self, name: str, numbers: bytes) -> None:
        {"packet": self.packet, "again": self.again, "reply": self.reply, "wait": self.wait,
         "server": self.server, "edit": self.edit, "delete server": self.delete_server,
         "service": self.service, "delete service": self.delete_service, "zero": self.zero,
         "clear": self.clear, "timeouts": self.timeouts, "tunable": self.tunable,
        }[name](numbers)  # fmt: skip

    # Packets.

    def packet(self, n: bytes) -> None:
        """Of some client, mostly to a service that there is."""
        services = [service.key for service in self._twins.table()] or SERVICES
        key = _of(services if n[0] % 8 else SERVICES, n[1])
        vip = _of(VIPS[2:], n[2]) if key.mark else key.address
        protocol = key.protocol or _of((TCP, TCP, UDP, SCTP), n[2])
        port = key.port if key.port and n[3] % 8 else _of(PORTS, n[3])
        source_port = 40000 + n[4] % 5 + 10 * PORTS.index(port) + 100 * VIPS.index(vip)
        if n[4] % 50 == 49:
            source_port = 20
        mark = _of((MARK,) * 7 + (0,) if key.mark else (0,) * 7 + (MARK,), n[0])
        packet = Packet(_of(CLIENTS, n[5]), source_port, vip, port, protocol, mark=mark)
        self._send(_saying(packet, n[6], FIRST_FLAGS, FIRST_CHUNKS))

    def _send(self, packet: Packet) -> None:
        """Not to what only a mark made a VIP when its service is gone: the filter has none."""
        if packet.destination in VIPS[:2] or self._twins.table().get(SERVICES[-1]) is not None:
            self._twins.request(packet)

    def again(self, n: bytes) -> None:
        """One to four of a client whose connection there is."""
        connections = self._twins.connections()
        if connections:
            one = _of(connections, n[0])
            mark = _of((0, MARK), n[1]) if one.vip not in VIPS[2:] else MARK
            packet = Packet(
                one.client, one.client_port, one.vip, one.vip_port, one.protocol, mark=mark
            )
            for number in n[3 : 4 + n[2] % 4]:
                self._send(_saying(packet, number))

    def reply(self, n: bytes) -> None:
        """Of a real server: gate's never pass, though some come by."""
        connections = self._twins.connections()
        if connections:
            one = _of(connections, n[0])
            packet = Packet(
                one.real, one.real_port, one.client, one.client_port + (n[1] % 10 == 9),
                one.protocol,
            )  # fmt: skip
            self._twins.reply(_saying(packet, n[2]))

    def wait(self, n: bytes) -> None:
        self._twins.wait(_of(WAITS, n[0]))

    # Edits.

    def service(self, n: bytes) -> None:
        """Add it, or edit it."""
        key, scheduler = _of(SERVICES, n[0]), _of(SCHEDULERS, n[1])
        options = ServiceOptions(
            _of(SCHEDULER_FLAGS, n[2]),
            _of(PERSISTENCE, n[3]),
            _of(MASKS, n[4]),
            one_packet=(key.protocol is UDP or key.mark != 0) and _of(ONE_PACKET, n[5]),
        )  # fmt: skip
        if key.port == 0 and not key.mark and not options.persistent_s:
            options = replace(options, persistent_s=50)  # ipvsadm insists
        kind = AddService if self._twins.table().get(key) is None else EditService
        self._twins.change(kind(key, scheduler, options))

    def delete_service(self, n: bytes) -> None:
        """Often one that is not there."""
        self._twins.change(DeleteService(_of(SERVICES, n[0])))

    def server(self, n: bytes) -> None:
        """Add it, or be refused as it is there; perhaps the service is not."""
        keys = [service.key for service in self._twins.table()]
        key = _of(keys or SERVICES, n[0]) if n[6] % 16 else _of(SERVICES, n[0])
        real = self._real_server(key, n)
        if not self._twins.is_half_forgotten(key, real.key):
            self._twins.change(AddRealServer(key, real))

    def edit(self, n: bytes) -> None:
        """One that is there, else one that is not."""
        key = _of(SERVICES, n[0])
        services = [service for service in self._twins.table() if service.real_servers]
        real = self._real_server(key, n)
        if services and n[6] % 10:
            service = _of(services, n[0])
            key, old = service.key, _of(service.real_servers, n[1])
            real = replace(self._real_server(key, n), address=old.address, port=old.port)
        self._twins.change(EditRealServer(key, real))

    def delete_server(self, n: bytes) -> None:
        services = [service for service in self._twins.table() if service.real_servers]
        if services:
            service = _of(services, n[0])
            key = _of(service.real_servers, n[1]).key
            self._twins.change(DeleteRealServer(service.key, key))

    @staticmethod
    def _real_server(key: ServiceKey, n: bytes) -> RealServer:
        address = IPv4Address(f"10.1.0.{10 + 10 * SERVICES.index(key) + n[1] % 5}")
        method, (upper, lower) = _of(METHODS, n[3]), _of(THRESHOLDS, n[4])
        port = key.port
        if port and method is ForwardingMethod.MASQ and n[5] % 3 == 2 and key.protocol is not SCTP:
            port += 8000  # SCTP's checksum covers the ports: the engine refuses
        return RealServer(address, port, method, _of(WEIGHTS, n[2]), upper, lower)

    def clear(self, n: bytes) -> None:
        if n[0] % 3 == 0:
            self._twins.change(Clear())

    def zero(self, n: bytes) -> None:
        """When rates were just estimated: what was counted since, one forgets, the other not."""
        self._twins.wait_for_estimates()
        keys = [service.key for service in self._twins.table()]
        self._twins.change(Zero(_of([None, *keys], n[0])))

    def timeouts(self, n: bytes) -> None:
        self._twins.set_timeouts(_of(TIMEOUTS, n[0]))

    def tunable(self, n: bytes) -> None:
        name, values = _of(TUNABLES, n[0])
        value = _of(values, n[1])
        if (name, value) == ("expire_nodest_conn", 1) and self._twins.has_orphans():
            return  # the sweeper ends what was orphaned before, the kernel only what is from now on
        self._twins.set_tunable(name, value)


def _of(choices: Any, number: int) -> Any:
    return choices[number % len(choices)]


def _saying(packet: Packet, number: int, flags: Any = FLAGS, chunks: Any = CHUNKS) -> Packet:
    """With flags or chunks."""
    if packet.protocol is TCP:
        return replace(packet, flags=_of(flags, number))
    return replace(packet, chunks=_of(chunks, number)) if packet.protocol is SCTP else packet
