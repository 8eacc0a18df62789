"""The way that a masq reply takes to its client; and what leaves where it came from."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.l2 import Ether

from onevip.engines.bpf import libbpf
from onevip.engines.bpf.shapes import Limits
from packet.network import FRONT, ROUTER, ip
from packet.test_connections import known
from packet.test_forwarding import policy_routing
from packet.wire import CLIENT, GATE, MASQ, REAL, VIP, Director, eth, eth_back, ip4, tcp

OTHER_ROUTER = "02:00:00:00:00:03"
TO_OTHER_ROUTER = (
    "route add 10.0.64.0/18 via 10.0.0.3",
    f"neigh add 10.0.0.3 lladdr {OTHER_ROUTER} dev front nud permanent",
)


def reply_to(director: Director, client: str = CLIENT, port: int = 40000) -> Any:
    return director(eth_back() / ip4(REAL, client, ttl=64) / tcp(80, port, "A")).packet


def masq_connection(director: Director, client: str = CLIENT, port: int = 40000) -> None:
    director(eth() / ip4(client, VIP, ttl=64) / tcp(port, 80, "S"))


def test_a_connection_remembers_its_way_back_for_as_long_as_ways_are_kept(xdp: Director) -> None:
    xdp.add_service()
    xdp.add(REAL, MASQ)
    masq_connection(xdp)
    assert reply_to(xdp).dst == ROUTER
    with policy_routing(*TO_OTHER_ROUTER):
        assert reply_to(xdp).dst == ROUTER
        masq_connection(xdp, port=40001)
        assert reply_to(xdp, port=40001).dst == OTHER_ROUTER, "another connection asks for itself"
        xdp.plane.settings.set(0, "hop_lifetime", 0)
        assert reply_to(xdp).dst == OTHER_ROUTER
    assert reply_to(xdp).dst == ROUTER


def test_a_gateway_that_changes_its_mac_is_followed(xdp: Director) -> None:
    xdp.add_service()
    xdp.add(REAL, MASQ)
    masq_connection(xdp)
    masq_connection(xdp, port=40001)
    assert reply_to(xdp).dst == ROUTER
    ip(f"neigh replace 10.0.0.1 lladdr {OTHER_ROUTER} dev front nud permanent\n")
    try:
        assert reply_to(xdp, port=40001).dst == OTHER_ROUTER  # it asks
        assert reply_to(xdp).dst == OTHER_ROUTER, "who remembers the gateway learns it too"
    finally:
        ip(f"neigh replace 10.0.0.1 lladdr {ROUTER} dev front nud permanent\n")


def test_clients_on_the_link_each_have_their_own_mac(xdp: Director) -> None:
    clients = {f"10.0.0.{n}": f"02:00:00:00:77:{n:02x}" for n in range(50, 60)}
    for client, mac in clients.items():
        ip(f"neigh add {client} lladdr {mac} dev front nud permanent\n")
    try:
        xdp.add_service()
        xdp.add(REAL, MASQ)
        for client in clients:
            masq_connection(xdp, client)
        for _ in range(2):
            assert {client: reply_to(xdp, client).dst for client in clients} == clients
    finally:
        for client in clients:
            ip(f"neigh del {client} dev front\n")


def test_a_way_back_that_was_written_late_is_not_taken(xdp: Director) -> None:
    """By a packet of the slot's earlier connection: its generation is another."""
    xdp.add_service()
    xdp.add(REAL, MASQ)
    masq_connection(xdp)
    reply_to(xdp)
    slot = known(xdp).slot
    way = xdp._connections.get(slot, "way_back")
    assert way & 0xFF
    with policy_routing(*TO_OTHER_ROUTER):
        xdp._connections.set(slot, "way_back", way ^ 1 << 20)
        assert reply_to(xdp).dst == OTHER_ROUTER


def test_two_routes_by_one_gateway_keep_their_mtus(director: Director) -> None:
    director.add_service()
    director.add(REAL, MASQ)
    with policy_routing("route add 10.0.65.0/24 via 10.0.0.1 mtu lock 600"):
        for client in (CLIENT, "10.0.65.1"):
            masq_connection(director, client)
        for _ in range(2):
            for client, goes in ((CLIENT, True), ("10.0.65.1", False)):
                long = eth_back() / ip4(REAL, client, flags="DF") / tcp(80, 40000) / bytes(1000)
                seen = director.engine.door_counters()[director.door]["replies"]
                director(long)
                assert director.engine.door_counters()[director.door]["replies"] == seen + goes


def test_two_ipv6_gateways_of_ipv4_routes_are_two(xdp: Director) -> None:
    """RFC 5549. Both begin with fe80."""
    clients = {CLIENT: ROUTER, "10.0.65.1": OTHER_ROUTER}
    ipv6 = Path("/proc/sys/net/ipv6/conf/front/disable_ipv6")
    ipv6.write_text("0")
    try:
        xdp.add_service()
        xdp.add(REAL, MASQ)
        with policy_routing(
            "route add 10.0.64.0/24 via inet6 fe80::1 dev front",
            "route add 10.0.65.0/24 via inet6 fe80::2 dev front",
            f"neigh add fe80::1 lladdr {ROUTER} dev front nud permanent",
            f"neigh add fe80::2 lladdr {OTHER_ROUTER} dev front nud permanent",
        ):
            for client in clients:
                masq_connection(xdp, client)
            for _ in range(2):
                assert {client: reply_to(xdp, client).dst for client in clients} == clients
    finally:
        ipv6.write_text("1")


# A director with one leg.


@pytest.mark.parametrize(
    ("is_device", "verdict"), [(1, "sent back"), (0, "forwarded")], ids=["device", "veth"]
)
def test_what_leaves_where_it_came_from_is_sent_back_by_a_device(
    xdp: Director, is_device: int, verdict: str
) -> None:
    """A veth would leave the frame lying; of a device it costs less than a redirect."""
    beside = "10.0.0.60"
    front = socket.if_nametoindex("front")
    ip(f"neigh add {beside} lladdr 02:00:00:00:00:60 dev front nud permanent\n")
    macs, place = xdp.plane.own_macs, front % Limits.XDP_PLACES
    before = macs._map[:]
    try:
        xdp.add_service()
        xdp.add(beside, GATE)
        xdp.arrives_for(FRONT)
        macs.set(place, "mac", macs.get(1, "mac"))
        macs.set(place, "interface", front)
        macs.set(place, "is_device", is_device)
        frame = bytes(eth() / ip4(CLIENT, VIP, ttl=64) / tcp(40000, 80, "S") / bytes(20))
        context = struct.pack("=6I", 0, len(frame), 0, front, 0, 0)
        for _ in range(2):  # the first one may be tc's
            number, out, _ = libbpf.run_program(xdp._program, frame, context=context)
        assert {3: "sent back", 4: "forwarded"}[number] == verdict
        assert Ether(out).dst == "02:00:00:00:00:60"
        assert Ether(out).src == FRONT
    finally:
        macs._map[:] = before
        ip(f"neigh del {beside} dev front\n")
