"""Which packets a case meets: frames and wrappers by its road. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from benchmarks.cases import TCP, Case, Road
from benchmarks.flows import CLIENT6, CLIENT_PORTS, CLIENTS, Traffic, frame4, frame6, tcp, udp
from benchmarks.network import BACK, FIRST_REAL, FRONT, PORT, REAL_MAC, ROUTER, VIP, VIP6

CLIENT = str(IPv4Address(CLIENTS))
FROM_CLIENTS, FROM_REALS = (FRONT, ROUTER), (BACK, REAL_MAC)
SOMEBODY, SOMEBODY6 = "10.63.0.1", "fd00:63::1"  # in no flow


def traffic_of(case: Case) -> Traffic:
    """What is measured."""
    if case.road is Road.REPLY:
        ends = CLIENT, str(FIRST_REAL)
        frame = frame4(FROM_REALS, ends, _l4(case, PORT, CLIENT_PORTS))
        return Traffic("replies", frame, case.flows, case.reals, int(FIRST_REAL))
    if case.road is Road.STRANGER:
        frame = frame4(FROM_CLIENTS, (CLIENT, CLIENT), _l4(case, CLIENT_PORTS, PORT))
        return Traffic("strangers", frame, case.flows)
    if case.family == 6:
        return Traffic("requests6", _request6(case, CLIENT6, case.flags), case.flows)
    return Traffic("requests", _request4(case, CLIENT, case.flags), case.flows)


def opening(case: Case) -> bytes:
    """A packet to the case's service that opens a connection, of a client who is in no flow."""
    if case.family == 6:
        return _request6(case, SOMEBODY6, "S")
    return _request4(case, SOMEBODY, "S")


def plain(flows: int = 1) -> Traffic:
    """For programs that look at no more than addresses and ports."""
    return traffic_of(Case("", Road.ESTABLISHED, flows))


def _request4(case: Case, client: str, flags: str) -> bytes:
    return frame4(FROM_CLIENTS, (str(VIP), client), _l4(case, CLIENT_PORTS, PORT, flags))


def _request6(case: Case, client: str, flags: str) -> bytes:
    return frame6(FROM_CLIENTS, (str(VIP6), client), _l4(case, CLIENT_PORTS, PORT, flags))


def _l4(case: Case, source: int, to: int, flags: str = "") -> Any:
    if case.protocol is not TCP:
        return udp(source, to)
    return tcp(source, to, flags or case.flags)
