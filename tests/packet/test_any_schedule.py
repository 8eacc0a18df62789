"""Random lives of a service at both doors, compared with the kernel's way choice by choice."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP

from onevip.engines.bpf.writer import Writer
from packet.kernel_lists import KernelList, Server
from packet.network import real_address
from packet.wire import CLIENT, MASQ, VIP, Director, eth, ip4, tcp

SCHEDULERS = ["rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf"]
ALL = -1
WEIGHTS = st.sampled_from([0, 1, 1, 2, 3, 4, 6, 10, 100])
STEP = st.one_of(
    st.tuples(st.just("open"), st.just(0), st.just(0)),
    st.tuples(st.just("close"), st.integers(0, 99), st.just(0)),
    st.tuples(st.just("add"), st.just(0), WEIGHTS),
    st.tuples(st.just("delete"), st.integers(0, 99), st.just(0)),
    st.tuples(st.just("edit"), st.integers(0, 99), WEIGHTS),
    st.tuples(st.just("overload"), st.integers(0, 99), st.just(0)),
    st.tuples(st.just("overload"), st.just(ALL), st.just(0)),
    st.tuples(st.just("relieve"), st.integers(0, 99), st.just(0)),
)


class Pair:
    """A director and the kernel's list, which live the same life."""

    def __init__(self, director: Director, scheduler: str) -> None:
        director.forget()
        director.add_service(scheduler)
        self.director = director
        self.kernels = KernelList(scheduler)
        self.numbers = count(10)
        self.ports = count(20000)
        self.open_connections: list[tuple[int, int]] = []  # client's port, server

    def open(self, which: int, weight: int) -> None:
        port = next(self.ports)
        out = self.client(port, "S")
        expected = self.kernels.choose()
        if expected is None:
            assert out.haslayer(ICMP) or out[IP].dst == VIP  # xdp: left to tc
            return
        assert out[IP].dst == real_address(expected)
        self.kernels.server(expected).active += 1
        self.open_connections.append((port, expected))

    def close(self, which: int, weight: int) -> None:
        if not self.open_connections:
            return
        port, number = self.open_connections.pop(which % len(self.open_connections))
        server = next((s for s in self.kernels.servers if s.number == number), None)
        if server is None:
            return  # deleted: the packet would vanish
        self.client(port, "FA")
        server.active, server.inactive = server.active - 1, server.inactive + 1

    def client(self, port: int, flags: str) -> IP:
        sent = eth() / ip4(CLIENT, VIP) / tcp(port, 80, flags)
        return self.director(sent).packet

    def add(self, which: int, weight: int) -> None:
        number = next(self.numbers)
        self.kernels.add(Server(number, weight))
        self.director.add(real_address(number), MASQ, weight=weight)

    def delete(self, which: int, weight: int) -> None:
        if self.kernels.servers:
            number = self.kernels.servers[which % len(self.kernels.servers)].number
            self.kernels.delete(number)
            self.director.delete(real_address(number))

    def edit(self, which: int, weight: int) -> None:
        if self.kernels.servers:
            number = self.kernels.servers[which % len(self.kernels.servers)].number
            self.kernels.edit(number, weight)
            self.set_overloaded(self.kernels.server(number), False)
            self.director.edit(real_address(number), MASQ, weight=weight)

    def overload(self, which: int, weight: int) -> None:
        for at in range(len(self.kernels.servers)):
            if which in (ALL, at):
                self.set_overloaded(self.kernels.servers[at], True)

    def relieve(self, which: int, weight: int) -> None:
        if self.kernels.servers:
            self.set_overloaded(self.kernels.servers[which % len(self.kernels.servers)], False)

    def set_overloaded(self, server: Server, overloaded: bool) -> None:
        """Writes the map, as counts that reach a threshold or leave it would."""
        plane = self.director.plane
        listed = Writer(plane).list_of(0)
        real = listed.members[self.kernels.servers.index(server)].real
        server.overloaded = overloaded
        plane.real_counts.set(real, "overloaded", overloaded)
        plane.real_counts.set(real, "limited", 1)
        plane.chunks.set(plane.services.get(0, "list"), "limited", 1)

    def rows(self) -> dict[str, list[int]]:
        return {
            real_address(server.number): [server.weight, server.active, server.inactive]
            for server in self.kernels.servers
        }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scheduler=st.sampled_from(SCHEDULERS),
    built=st.lists(WEIGHTS, min_size=1, max_size=5),
    steps=st.lists(STEP, min_size=5, max_size=30),
)
def test_any_service_schedules_as_the_kernel(
    director: Director, scheduler: str, built: list[int], steps: list[tuple[str, int, int]]
) -> None:
    pair = Pair(director, scheduler)
    for what, which, weight in [*(("add", 0, weight) for weight in built), *steps]:
        do = {"open": pair.open, "close": pair.close, "add": pair.add, "delete": pair.delete,
              "edit": pair.edit, "overload": pair.overload, "relieve": pair.relieve}  # fmt: skip
        do[what](which, weight)
        assert list(director.rows().items()) == list(pair.rows().items())
