"""What is looked for around the director: which services have a VIP."""

from __future__ import annotations

from ipaddress import IPv4Address

from onevip.host import firewall, netlink, surroundings
from onevip.model import Protocol, ServiceKey, Table, VirtualService


def test_a_service_by_mark_has_no_vip_that_could_be_missing(monkeypatch):
    asked = []
    monkeypatch.setattr(netlink, "addresses", dict)
    monkeypatch.setattr(firewall, "warnings", lambda vips: asked.append(vips) or [])
    vip = IPv4Address("192.0.2.1")
    keys = [ServiceKey.of_mark(7), ServiceKey(Protocol.TCP, vip, 80)]
    (line,) = surroundings.look(Table.of(VirtualService(key) for key in keys))
    assert line.startswith("VIP 192.0.2.1 is on no interface")
    assert asked == [[vip]]
