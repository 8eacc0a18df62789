"""Persistence as the reference tells it (spec ipvs §5.1, §5.2, §3.5)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from onevip.model import EditService, Protocol, ServiceKey, ServiceOptions
from onevip.reference import Verdict
from scene import CALLS, DNS, GATE, OTHER, REAL, THIRD, VIP, WEB, Address, Scene

NEIGHBOUR = IPv4Address("198.51.100.8")
STRANGER = IPv4Address("198.51.101.7")
TCP, UDP = Protocol.TCP, Protocol.UDP
EVERY_PORT = ServiceKey(TCP, VIP, 0)
FTP = ServiceKey(TCP, VIP, 21)
MARK = ServiceKey.of_mark(7)


def persistent(
    service: ServiceKey = WEB, seconds: int = 300, netmask: Address | None = None,
    one_packet: bool = False,
) -> Scene:  # fmt: skip
    """A persistent service and three real servers, THIRD at the list's head."""
    scene = Scene()
    options = ServiceOptions(persistent_s=seconds, netmask=netmask, one_packet=one_packet)
    scene.serve(service, "rr", options)
    for address in (REAL, OTHER, THIRD):
        scene.add(address)
    return scene


def key_shown(scene: Scene) -> tuple[Protocol, str, int, str, int, int]:
    """Of the only template: protocol, client network, its port, VIP, port, real server's port."""
    (one,) = scene.templates()
    return (one.protocol, str(one.client), one.client_port, str(one.vip), one.vip_port,
            one.real_port)  # fmt: skip


def test_a_client_stays_and_others_take_turns() -> None:
    scene = persistent()
    assert [scene.got("S", port) for port in (1, 2, 3)] == [THIRD] * 3
    assert scene.got("S", 1, NEIGHBOUR) == OTHER
    assert scene.got("S", 2, NEIGHBOUR) == OTHER
    assert [scene.counters(a).persistent for a in (THIRD, OTHER, REAL, None)] == [1, 1, 0, 2]


def test_a_netmask_makes_networks_of_clients() -> None:
    scene = persistent(netmask=IPv4Address("255.255.255.0"))
    assert scene.got("S") == scene.got("S", by=NEIGHBOUR) == THIRD
    assert scene.got("S", by=STRANGER) == OTHER
    assert [str(one.client) for one in scene.templates()] == ["198.51.100.0", "198.51.101.0"]


def test_a_prefix_makes_networks_of_ipv6_clients() -> None:
    six, vip = IPv6Address("2001:db8:5::7"), IPv6Address("2001:db8::100")
    scene = Scene()
    mask = IPv6Address("ffff:ffff:ffff::")
    options = ServiceOptions(persistent_s=60, netmask=mask)
    scene.serve(ServiceKey(TCP, vip, 80), "rr", options)
    scene.add(IPv6Address("2001:db8:1::10"))
    scene.client("S", by=six, vip=vip)
    assert key_shown(scene) == (TCP, "2001:db8:5::", 0, "2001:db8::100", 80, 80)


@pytest.mark.parametrize(
    ("service", "to", "shown"),
    [
        (WEB, 80, (TCP, "198.51.100.7", 0, "192.0.2.100", 80, 80)),
        (FTP, 21, (TCP, "198.51.100.7", 0, "192.0.2.100", 0, 0)),
        (FTP, 5000, (TCP, "198.51.100.7", 0, "192.0.2.100", 0, 0)),
        (EVERY_PORT, 443, (TCP, "198.51.100.7", 0, "192.0.2.100", 0, 0)),
        (MARK, 443, (Protocol.IP, "198.51.100.7", 0, "0.0.0.7", 0, 0)),
    ],
    ids=["a port", "ftp", "ftp data", "every port", "mark"],
)
def test_what_a_template_is_for(
    service: ServiceKey, to: int, shown: tuple[Protocol, str, int, str, int, int]
) -> None:
    scene = persistent(service)
    scene.client("S", to=to, protocol=TCP, mark=7)
    assert key_shown(scene) == shown
    (connection,) = scene.listed()
    assert (connection.vip_port, connection.real_port) == (to, to)


def test_every_port_of_a_protocol_goes_together() -> None:
    """(13)"""
    scene = persistent(EVERY_PORT)
    assert scene.got("S", to=80) == scene.got("S", to=443) == THIRD


def test_all_that_bears_a_mark_goes_together() -> None:
    """(13)"""
    scene = persistent(MARK)
    assert scene.got("S", to=80, mark=7, protocol=TCP) == THIRD
    assert scene.got("", to=53, mark=7, protocol=UDP) == THIRD
    elsewhere = {"vip": IPv4Address("192.0.2.9"), "mark": 7, "protocol": TCP}
    assert scene.got("S", to=81, **elsewhere) == THIRD
    assert len(scene.templates()) == 1


def test_control_and_data_of_ftp_go_together() -> None:
    scene = persistent(FTP)
    assert scene.got("S", to=21) == scene.got("S", to=20) == scene.got("S", to=50000) == THIRD
    assert scene.client("S", to=80).verdict is Verdict.ACCEPT


def test_the_real_servers_port_is_for_the_services_own() -> None:
    """Of a mark or every port, each connection keeps the port that was called."""
    own = Scene()
    own.serve(WEB, options=ServiceOptions(persistent_s=60))
    own.add(port=8080)
    assert own.client("S").real_port == 8080
    marked = Scene()
    marked.serve(MARK, options=ServiceOptions(persistent_s=60))
    marked.add(port=8080)
    assert marked.client("S", to=443, mark=7, protocol=TCP).real_port == 443
    scheduled = Scene()
    scheduled.serve(MARK)
    scheduled.add(port=8080)
    assert scheduled.client("S", to=443, mark=7, protocol=TCP).real_port == 8080


# How long.


def test_each_new_connection_begins_the_time_again_other_packets_do_not() -> None:
    scene = persistent()
    scene.establish()
    scene.wait(200)
    scene.client("PA")
    assert scene.templates()[0].expires_s == 100
    scene.client("S", 40001)
    assert scene.templates()[0].expires_s == 300


def test_a_template_outlives_its_connections_a_minute_at_a_time() -> None:
    """(12)"""
    scene = persistent(seconds=50)
    scene.establish()
    for _ in range(30):
        scene.wait(30)
        scene.client("PA")
        assert len(scene.templates()) == 1
    assert scene.templates()[0].expires_s <= 60
    scene.client("S", 40001)
    assert scene.templates()[0].expires_s == 60  # and no longer 50
    scene.wait(961)
    assert (scene.listed(), scene.templates()) == ([], [])
    assert scene.counters(THIRD).persistent == 0


def test_a_template_ends_in_its_time() -> None:
    scene = persistent()
    scene.establish()
    scene.client("R")  # CLOSE: 10 s
    scene.wait(299)
    assert scene.templates()[0].expires_s == 1
    scene.wait(1)
    assert scene.templates() == []
    assert scene.got("S") == OTHER


def test_an_edit_leaves_old_templates_their_time() -> None:
    scene = persistent()
    scene.client("S")
    scene.apply(EditService(WEB, "rr", ServiceOptions(persistent_s=1000)))
    scene.client("S", 40001)
    assert scene.templates()[0].expires_s == 300
    scene.client("S", 40002, NEIGHBOUR)
    assert scene.templates()[1].expires_s == 1000


# Weight 0, overload, deletion.


def test_a_template_comes_before_weight_and_overload() -> None:
    """(10)"""
    scene = persistent()
    assert scene.got("S", 1) == THIRD
    scene.edit(THIRD, weight=0)
    assert scene.got("S", 2) == THIRD
    assert [scene.got("S", 3, IPv4Address(f"203.0.113.{n}")) for n in range(4)].count(THIRD) == 0
    scene.edit(THIRD, weight=1, upper=1)
    assert scene.got("S", 4) == scene.got("S", 5) == THIRD


def test_a_quiescent_servers_template_may_be_given_up() -> None:
    """(10) It is disabled, ages, and is listed with ports that nobody has."""
    scene = persistent()
    scene.client("S", 1)
    scene.edit(THIRD, weight=0)
    scene.tune("expire_quiescent_template", 1)
    assert scene.got("S", 2) == OTHER
    disabled, usable = scene.templates()
    assert (disabled.vip_port, disabled.real_port, disabled.real) == (65535, 65535, THIRD)
    assert (usable.vip_port, usable.real) == (80, OTHER)
    assert scene.got("A", 1) == THIRD  # its connections go on
    scene.edit(THIRD, weight=1)
    assert scene.got("S", 3) == OTHER


def test_a_deleted_servers_template_is_disabled_when_it_is_wanted() -> None:
    scene = persistent()
    scene.client("S", 1)
    scene.delete(THIRD)
    assert scene.templates()[0].vip_port == 80
    assert scene.got("S", 2) == OTHER
    assert [one.vip_port for one in scene.templates()] == [65535, 80]


def test_a_server_that_comes_back_in_time_finds_its_template() -> None:
    scene = persistent()
    scene.client("S", 1)
    scene.delete(THIRD)
    scene.add(THIRD)
    assert scene.got("S", 2) == THIRD
    assert scene.counters(THIRD).persistent == 1


def test_nobody_there_disables_and_refuses() -> None:
    scene = persistent()
    scene.client("S", 1)
    for address in (REAL, OTHER, THIRD):
        scene.delete(address)
    assert scene.client("S", 2).verdict is Verdict.REFUSE
    assert len(scene.templates()) == 1


def test_a_lowered_threshold_acts_with_the_next_connection() -> None:
    """Also with one that a template leads (§5.5)."""
    scene = persistent()
    scene.client("S", 1)
    scene.edit(THIRD, upper=1)
    assert scene.got("S", 2) == THIRD  # and is overloaded now
    strangers = [IPv4Address(f"203.0.113.{n}") for n in range(4)]
    assert [scene.got("S", 1, one) for one in strangers] == [OTHER, REAL, OTHER, REAL]


def test_a_controlled_connection_is_not_used_again() -> None:
    """A SYN on one that is over goes on with it: nothing is scheduled anew (§1.4)."""
    scene = persistent()
    scene.establish()
    scene.client("R")
    assert scene.state()[0] == "CLOSE"
    scene.client("S")
    assert scene.state()[0] == "SYN_RECV"
    assert scene.counters(None).connections == 1


def test_one_packet_scheduling_by_a_template() -> None:
    scene = persistent(DNS, one_packet=True)
    assert [scene.got() for _ in range(4)] == [THIRD] * 4
    assert scene.listed() == []
    scene.wait(299)
    scene.client()
    scene.wait(299)
    assert len(scene.templates()) == 1
    scene.wait(1)
    assert scene.templates() == []


# Assured (§3.5).


@pytest.mark.parametrize(
    ("service", "packets", "states"),
    [
        (WEB, ["> S", "> A"], ["NONE", "ASSURED"]),
        (WEB, ["> S", "< SA", "< A"], ["NONE", "NONE", "ASSURED"]),
        (DNS, ["> ", "> ", "< "], ["NONE", "NONE", "ASSURED"]),
        (CALLS, [(1,), (10,)], ["NONE", "NONE"]),
    ],
    ids=["tcp", "tcp by the server", "udp", "sctp"],
)
def test_a_client_that_was_answered_is_assured(
    service: ServiceKey, packets: list[str | tuple[int, ...]], states: list[str]
) -> None:
    scene = persistent(service)
    seen = []
    for packet in packets:
        if isinstance(packet, tuple):
            scene.client(packet)
        elif packet.startswith("<"):
            scene.server(packet[2:], by=THIRD)
        else:
            scene.client(packet[2:])
        seen.append(scene.templates()[0].state)
    assert seen == states


def test_sctp_is_assured_when_established() -> None:
    scene = Scene()
    scene.serve(CALLS, options=ServiceOptions(persistent_s=60))
    scene.add(method=GATE)
    scene.client((1,))
    assert scene.templates()[0].state == "NONE"
    scene.client((10,))
    assert scene.templates()[0].state == "ASSURED"
    assert scene.templates()[0].template
