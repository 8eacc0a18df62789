"""`onevip real` and `onevip director` in a network namespace: there and exactly back."""

from __future__ import annotations

import asyncio
import ctypes
import io
import json
import os
import socket
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute, netns

from onevip.command import director, real
from onevip.command.environment import Environment
from onevip.host import netlink, surroundings
from onevip.model import (
    ForwardingMethod,
    HostError,
    Protocol,
    RealServer,
    ServiceKey,
    Table,
    VirtualService,
)

CLONE_NEWNET = 0x40000000
VIP, OTHER_VIP = "198.51.100.1", "198.51.100.2"


class Host:
    """A namespace with e0 (192.0.2.2/24, MTU 1400, default route) and its peer e1."""

    def __init__(self, state: Path) -> None:
        self.name = f"onevip-host-{os.getpid()}"
        self.environment = Environment(
            state_directory=str(state / "run"), unit_directory=str(state / "systemd")
        )
        (state / "systemd").mkdir()
        # Stands for the data plane's decapsulation; a file, since each command is a process.
        self.unpacked = state / "unpacked"
        netns.create(self.name)
        self.inside(_prepare)

    def remove(self) -> None:
        netns.remove(self.name)

    def inside(self, function: Callable[[], Any]) -> Any:
        """The function's JSON result, out of a child process in the namespace."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                entry = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
                if ctypes.CDLL(None, use_errno=True).setns(entry, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                os.write(writing, json.dumps(function()).encode())
                status = 0
            except BaseException:  # noqa: BLE001 - the parent fails the test
                os.write(writing, traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            printed = pipe.read()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, printed
        return json.loads(printed)

    def _run(self, command: Callable[..., int], command_line: str) -> tuple[int, str]:
        def run() -> tuple[int, str]:
            printed = io.StringIO()
            try:
                status = command(command_line.split(), replace(self.environment, stdout=printed))
            except HostError as error:
                return 1, str(error)
            return status, printed.getvalue()

        status, printed = self.inside(run)
        return status, printed

    def real(self, command_line: str) -> tuple[int, str]:
        def main(argv: list[str], environment: Environment) -> int:
            unpacked = self.unpacked

            class Decapsulator:
                def vips(self) -> set[IPv4Address]:
                    if unpacked.is_dir():
                        raise HostError("no decapsulation here")
                    text = unpacked.read_text() if unpacked.exists() else ""
                    return {IPv4Address(line) for line in text.split()}

                def add(self, vip: IPv4Address) -> None:
                    unpacked.write_text(" ".join(map(str, self.vips() | {vip})))

                def remove(self, vip: IPv4Address) -> None:
                    unpacked.write_text(" ".join(map(str, self.vips() - {vip})))

            real.BpfDecapsulator = Decapsulator  # type: ignore[misc, assignment]
            return real.main(argv, environment)

        return self._run(main, command_line)

    def director(self, command_line: str) -> tuple[int, str]:
        return self._run(director.main, command_line)

    def state(self) -> Any:
        """Every address, link state, route with its metrics, and IPv4 setting."""
        return self.inside(_state)

    def set(self, name: str, value: str) -> None:
        self.inside(lambda: Path("/proc/sys/net/ipv4", name).write_text(value))

    def get(self, name: str) -> str:
        return str(self.inside(lambda: Path("/proc/sys/net/ipv4", name).read_text().strip()))


def _prepare() -> None:
    with IPRoute() as ip:
        ip.link("add", ifname="e0", kind="veth", peer={"ifname": "e1"})
        for name in ("e0", "e1"):
            index = ip.link_lookup(ifname=name)[0]
            ip.link("set", index=index, mtu=1400, state="up")
        e0 = ip.link_lookup(ifname="e0")[0]
        ip.addr("add", index=e0, address="192.0.2.2", prefixlen=24)
        ip.route("add", dst="default", gateway="192.0.2.1", metrics={"window": 30000})
        ip.route("add", dst="203.0.113.0/24", gateway="192.0.2.9", priority=7)
        ip.route("add", dst="203.0.113.0/24", gateway="192.0.2.8", priority=8)
    Path("/proc/sys/net/ipv4/conf/e0/rp_filter").write_text("1")


def _state() -> Any:
    with IPRoute() as ip:
        links = {link.get("ifname"): bool(link["flags"] & 1) for link in ip.get_links()}
        found = sorted(
            [message.get("address"), message["prefixlen"], message["index"], message["scope"]]
            for message in ip.get_addr(family=2)
        )
        routes = sorted(
            str(sorted((str(key), str(value)) for key, value in message["attrs"]))
            + str([message[key] for key in ("dst_len", "proto", "scope", "type", "tos")])
            for message in ip.get_routes(family=2)
        )
    files = [Path("/proc/sys/net/ipv4/ip_forward"), *Path("/proc/sys/net/ipv4/conf").glob("*/*")]
    return [links, found, routes, {str(file): file.read_text() for file in sorted(files)}]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("method", ["gate", "ipip", "masq"])
def test_stop_puts_back_exactly_what_was_there(host, method):
    before = host.state()
    assert host.real(f"start --vip {VIP} --method {method}")[0] == 0
    assert (host.state() == before) == (method == "masq")
    assert host.real(f"status --vip {VIP}")[0] == 0
    assert host.real(f"stop --vip {VIP}")[0] == 0
    assert host.state() == before
    assert not list(Path(host.environment.state_directory).glob("*/*"))


@pytest.mark.parametrize("method", ["gate", "masq"])
def test_the_director_puts_back_exactly_what_was_there(host, method):
    host.set("conf/e1/forwarding", "1")
    before = host.state()
    assert host.director(f"start --vip {VIP} --dev e0 --method {method}")[0] == 0
    assert host.get("ip_forward") == ("1" if method == "masq" else "0")
    assert host.director("status")[0] == 0
    assert host.director("stop")[0] == 0
    assert host.state() == before


def test_a_gate_real_server_is_what_the_guides_say(host):
    host.real(f"start --vip {VIP}")
    assert host.get("conf/all/arp_ignore") == "1"
    assert host.get("conf/all/arp_announce") == "2"
    assert host.get("conf/all/rp_filter") == "2"
    assert [VIP, 32, 1, 254] in host.state()[1]


def test_an_ipip_real_server_leaves_room_for_the_outer_header(host):
    host.real(f"start --vip {VIP} --method ipip")
    assert host.unpacked.read_text() == VIP
    found = host.inside(lambda: [[route.name, route.metrics] for route in netlink.routes()])
    assert sorted(found) == [
        ["0.0.0.0/0 via 192.0.2.1 dev e0", [["advmss", 1340], ["window", 30000]]],
        ["192.0.2.0/24 dev e0", [["advmss", 1340]]],
        ["203.0.113.0/24 via 192.0.2.8 dev e0 metric 8", [["advmss", 1340]]],
        ["203.0.113.0/24 via 192.0.2.9 dev e0 metric 7", [["advmss", 1340]]],
    ]


def test_status_tells_what_is_missing(host):
    status, printed = host.real(f"status --vip {VIP}")
    assert status == 3
    assert f"missing  {VIP}/32 is not on lo" in printed
    assert host.real("status")[0] == 3
    host.real(f"start --vip {VIP}")
    host.set("conf/all/arp_ignore", "0")
    status, printed = host.real("status")
    assert status == 3
    assert "missing  net.ipv4.conf.all.arp_ignore = 0" in printed
    assert printed.count("missing") == 1


def test_a_second_start_changes_nothing_and_keeps_what_was_there(host):
    before = host.state()
    host.real(f"start --vip {VIP}")
    (kept,) = Path(host.environment.state_directory).glob("*/host.json")
    first = kept.read_text()
    assert host.real(f"start --vip {VIP}") == (0, f"{VIP}: everything is set up\n")
    assert kept.read_text() == first
    host.real("stop")
    assert host.state() == before


def test_two_vips_share_the_settings(host):
    before = host.state()
    host.real(f"start --vip {VIP} --vip {OTHER_VIP}")
    host.real(f"stop --vip {VIP}")
    assert host.get("conf/all/arp_ignore") == "1"
    assert host.real(f"status --vip {OTHER_VIP}")[0] == 0
    host.real(f"stop --vip {OTHER_VIP}")
    assert host.state() == before


def test_another_method_at_the_next_start(host):
    before = host.state()
    host.real(f"start --vip {VIP} --method ipip")
    host.real(f"start --vip {VIP} --method gate")
    assert host.unpacked.read_text() == ""
    assert all("ADVMSS" not in route for route in host.state()[2])
    assert host.real("status")[0] == 0
    host.real("stop")
    assert host.state() == before


def test_what_somebody_changed_since_is_left_and_said(host):
    host.real(f"start --vip {VIP}")
    host.set("conf/all/arp_ignore", "8")
    said = host.real("stop")[1]
    line = f"{VIP}: left as it is, somebody has changed it since: net.ipv4.conf.all.arp_ignore = 8"
    assert line in said
    assert host.get("conf/all/arp_ignore") == "8"


def test_what_was_right_already_stays(host):
    host.set("conf/all/arp_ignore", "1")
    host.real(f"start --vip {VIP}")
    host.real("stop")
    assert host.get("conf/all/arp_ignore") == "1"


def test_a_start_that_fails_leaves_nothing_half_made(host):
    before = host.state()
    host.unpacked.mkdir()  # where the decapsulation would be noted
    status, said = host.real(f"start --vip {VIP} --method ipip")
    assert (status, said) == (1, "no decapsulation here")
    assert host.state() == before
    assert not list(Path(host.environment.state_directory).glob("*/*"))


def test_a_vip_that_answers_arp_elsewhere_is_refused(host):
    before = host.state()
    status, said = host.real("start --vip 192.0.2.2")
    assert (status, host.state()) == (1, before)
    assert said == (
        "192.0.2.2 is on e0: a real server would answer ARP for it, remove it there first"
    )


def test_an_interface_that_is_not_there_is_refused(host):
    assert host.director(f"start --vip {VIP} --dev e9") == (
        1,
        "there is no interface e9 here: there are e0, e1, lo",
    )


def test_the_director_tells_its_neighbours(host):
    def start_and_listen() -> list[str]:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as wire:
            wire.bind(("e1", 0x0806))
            wire.settimeout(5)
            environment = replace(host.environment, stdout=io.StringIO())
            director.main(["start", "--vip", VIP, "--dev", "e0"], environment)
            frames = [wire.recv(100) for _ in range(3)]
        return [socket.inet_ntoa(struct.unpack_from("4s", frame, 28)[0]) for frame in frames]

    assert host.inside(start_and_listen) == [VIP] * 3


def test_a_gate_real_server_serves_the_vip_and_answers_no_arp_for_it(host):
    """The client's packets come with the real server's MAC, as a director sends them."""
    client = f"{host.name}-client"
    netns.create(client)
    try:
        host.inside(lambda: _move("e1", client))
        host.real(f"start --vip {VIP}")
        reading, writing = os.pipe()
        server = os.fork()
        if server == 0:
            host.inside(lambda: _serve_once(writing))
            os._exit(0)
        os.read(reading, 1)
        said = host.inside(lambda: _ask_from(client))
        os.waitpid(server, 0)
        assert said == ["hello", False]
    finally:
        netns.remove(client)


def _enter(name: str) -> None:
    with open(f"/run/netns/{name}") as entry:  # noqa: PTH123
        assert ctypes.CDLL(None).setns(entry.fileno(), CLONE_NEWNET) == 0


def _move(interface: str, namespace: str) -> None:
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname=interface)[0], net_ns_fd=namespace)


def _serve_once(ready: int) -> None:
    with socket.create_server((VIP, 8080)) as server:
        server.settimeout(10)
        os.write(ready, b".")
        connection, _ = server.accept()
        connection.sendall(b"hello")
        connection.close()


def _ask_from(client: str) -> Any:
    """What the VIP says by way of the real server, and whether ARP for the VIP is answered."""
    _enter(client)
    with IPRoute() as ip:
        e1 = ip.link_lookup(ifname="e1")[0]
        ip.link("set", index=e1, state="up")
        ip.addr("add", index=e1, address="192.0.2.1", prefixlen=24)
        ip.route("add", dst=f"{VIP}/32", gateway="192.0.2.2")
        with socket.create_connection((VIP, 8080), timeout=10) as connection:
            said = connection.recv(100).decode()
        ip.route("del", dst=f"{VIP}/32")
        ip.route("add", dst=f"{VIP}/32", oif=e1, scope=253)
        try:
            socket.create_connection((VIP, 8080), timeout=0.5).close()
            is_reached = True
        except OSError:
            is_reached = False
    return [said, is_reached]


def test_boot_does_the_same_at_every_start(host):
    host.real(f"start --vip {VIP} --boot")
    unit = Path(host.environment.unit_directory, f"onevip-real-{VIP}.service")
    assert f"real start --vip {VIP} --method gate --dev lo" in unit.read_text()
    host.real("stop --boot")
    assert not unit.exists()


def test_the_surroundings_are_told_in_one_line_each(host):
    def table(*reals: RealServer) -> Table:
        key = ServiceKey(Protocol.TCP, IPv4Address(VIP), 80)
        return Table.of([VirtualService(key, "wlc", reals)])

    on_link = RealServer(IPv4Address("192.0.2.7"), 80)
    behind = RealServer(IPv4Address("203.0.113.7"), 80)
    masq = RealServer(IPv4Address("192.0.2.8"), 80, ForwardingMethod.MASQ)
    lines = host.inside(lambda: surroundings.look(table(on_link, behind, masq)))
    assert [line.split(":")[0] for line in lines] == [
        f"VIP {VIP} is on no interface",
        "net.ipv4.ip_forward is 0, and 192.0.2.8 is a masq real server",
        "real server 203.0.113.7 is behind router 192.0.2.9",
    ]
    host.director(f"start --vip {VIP} --dev e0")
    assert host.inside(lambda: asyncio.run(_look_from_a_loop(table(on_link)))) == []


async def _look_from_a_loop(table: Table) -> list[str]:
    return surroundings.look(table)
