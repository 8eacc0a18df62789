"""A change written as ipvsadm's command line is read back as the same change."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onevip.command.ipvsadm import edits, reading
from onevip.command.ipvsadm.command_line import command_line
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    Zero,
)
from onevip.model.service import SCHEDULERS

WEB = ServiceKey(Protocol.TCP, IPv4Address("192.0.2.1"), 80)
DNS = ServiceKey(Protocol.UDP, IPv4Address("192.0.2.1"), 53)
WEB6 = ServiceKey(Protocol.TCP, IPv6Address("fd00::100"), 80)
REAL, REAL6 = IPv4Address("10.1.0.10"), IPv6Address("fd01::10")
MASQ, GATE = ForwardingMethod.MASQ, ForwardingMethod.GATE

addresses4 = st.integers(0x0A000001, 0x0AFFFFFE).map(IPv4Address)
addresses6 = st.integers(0xFD00 << 112 | 1, (0xFD00 << 112) + 2**64).map(IPv6Address)
ports = st.integers(1, 65535)
numbers = st.integers(0, 2**31 - 1)
flag_sets = st.integers(0, 7).map(lambda bits: SchedulerFlag(bits << 3))


@st.composite
def keys(draw) -> ServiceKey:
    if draw(st.booleans()):
        return ServiceKey.of_mark(draw(st.integers(1, 2**32 - 1)), draw(st.sampled_from((4, 6))))
    protocol = draw(st.sampled_from((Protocol.TCP, Protocol.UDP, Protocol.SCTP)))
    return ServiceKey(protocol, draw(addresses4 | addresses6), draw(ports))


@st.composite
def options(draw, key: ServiceKey) -> ServiceOptions:
    persistent_s = draw(st.integers(0, 31 * 24 * 3600))
    netmask = None
    if persistent_s and key.address.version == 4:
        netmask = draw(st.sampled_from((None, IPv4Address("255.255.255.0"))))
    one_packet = bool(key.mark or key.protocol is Protocol.UDP) and draw(st.booleans())
    return ServiceOptions(draw(flag_sets), persistent_s, netmask, one_packet)


@st.composite
def real_servers(draw, key: ServiceKey) -> RealServer:
    method = draw(st.sampled_from((MASQ, GATE, ForwardingMethod.IPIP)))
    port = draw(ports) if method is MASQ or key.mark else key.port
    address = draw(addresses6 if key.address.version == 6 else addresses4)
    return RealServer(address, port, method, draw(numbers), draw(numbers), draw(numbers))


@st.composite
def changes(draw) -> Change:
    key = draw(keys())
    kind = draw(
        st.sampled_from(
            (AddService, EditService, AddRealServer, EditRealServer, DeleteRealServer, "only")
        )
    )
    if kind in (AddService, EditService):
        return kind(key, draw(st.sampled_from(SCHEDULERS)), draw(options(key)))
    if kind in (AddRealServer, EditRealServer):
        return kind(key, draw(real_servers(key)))
    if kind is DeleteRealServer:
        return DeleteRealServer(key, draw(real_servers(key)).key)
    return draw(st.sampled_from((DeleteService(key), Zero(key), Zero(), Clear())))


@given(changes())
@example(AddService(WEB, "mh", ServiceOptions(SchedulerFlag.FLAG_3 | SchedulerFlag.PORT)))
def test_what_is_written_is_read_back(change):
    assert edits.change(reading.read(command_line(change).split())) == change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (AddService(WEB, "wrr"), "-A -t 192.0.2.1:80 -s wrr"),
        (
            EditService(
                DNS,
                "sh",
                ServiceOptions(
                    SchedulerFlag.PORT, 360, IPv4Address("255.255.255.0"), one_packet=True
                ),
            ),
            "-E -u 192.0.2.1:53 -o -s sh -p 360 -M 255.255.255.0 -b sh-port",
        ),
        (
            AddService(
                WEB6, "rr", ServiceOptions(persistent_s=1, netmask=IPv6Address("ffff:ffff::"))
            ),
            "-A -t [fd00::100]:80 -s rr -p 1 -M 32",
        ),
        (DeleteService(ServiceKey.of_mark(7, 6)), "-D -f 7 -6"),
        (
            AddRealServer(WEB, RealServer(REAL, 8080, MASQ, 3, 20, 10)),
            "-a -t 192.0.2.1:80 -x 20 -y 10 -r 10.1.0.10:8080 -m -w 3",
        ),
        (
            AddRealServer(WEB6, RealServer(REAL6, 80, GATE, 1)),
            "-a -t [fd00::100]:80 -x 0 -y 0 -r [fd01::10]:80 -g -w 1",
        ),
        (
            EditRealServer(WEB, RealServer(REAL, 80, GATE, 0)),
            "-e -t 192.0.2.1:80 -r 10.1.0.10:80 -g -w 0",
        ),
        (
            EditRealServer(WEB, RealServer(REAL, 80, ForwardingMethod.LOCAL, 0, 20)),
            "-e -t 192.0.2.1:80 -x 20 -y 0 -r 10.1.0.10:80 -g -w 0",
        ),
        (
            DeleteRealServer(ServiceKey.of_mark(7), RealServerKey(REAL, 0)),
            "-d -f 7 -r 10.1.0.10:0",
        ),
        (Clear(), "-C"),
        (Zero(), "-Z"),
    ],
)
def test_it_is_written_as_ldirectord_writes_it(change, line):
    assert command_line(change) == line
