"""Sessions with the kernel's IPVS and ipvsadm 1.31, replayed and compared byte for byte.

The recordings lie in $ONEVIP_FIXTURES or ../shared/fixtures beside the repository; without them
these tests skip.
"""

from __future__ import annotations

import io
import os
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from connection_table import (
    NOW,
    TCP_TIMEOUTS_S,
    UDP_TIMEOUT_S,
    Slot,
    SyntheticEngine,
    SyntheticPlane,
)
from ipvsadm_fake import Ipvsadm
from onevip.command.environment import Environment
from onevip.command.ipvsadm import main
from onevip.model import Counters, Protocol, RealServerKey, ServiceKey
from onevip.model.connection import STATES, TEMPLATE_STATES

ROOT = Path(__file__).parents[2]
FIXTURES = Path(os.environ.get("ONEVIP_FIXTURES", ROOT.parent / "shared" / "fixtures")) / "ipvsadm"

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no recordings of ipvsadm in {FIXTURES}: set ONEVIP_FIXTURES"
)

# The rest use what onevip does not have yet.
SCENARIOS = [
    "dr4_wrr",
    "empty",
    "nat4_mh",
    "nat4_ports",
    "nat4_rr",
    "nat4_sh",
    "nat4_wlc",
    "no_real_servers",
    "tun4_wrr",
    "udp4_rr",
]
LISTINGS = [
    "Ln",
    "Ln_--exact",
    "Ln_--nosort",
    "Ln_--persistent-conn",
    "Ln_--stats",
    "Ln_--stats_--exact",
    "Ln_--thresholds",
]
# Those of IPv6 and of persistence too: they are about connections only.
WITH_CONNECTIONS = [
    *SCENARIOS, "dr6_wrr", "fwmark4", "nat4_sched_flags", "nat6_wlc", "persist4",
    "persist4_allports", "persist6_mask64", "thresholds4", "timeouts_daemon", "udp4_ops",
]  # fmt: skip
NOT_YET = "is not supported by onevip yet"
STEP = re.compile(r"^\$ (.*)\n((?:(?!\$ |rc=).*\n)*)rc=(\d+)$", re.MULTILINE)


def steps(file: str) -> list[tuple[str, str, int]]:
    """(command line, what it printed, exit status) of a recording."""
    text = (FIXTURES / file).read_text()
    return [(line, printed, int(status)) for line, printed, status in STEP.findall(text)]


@pytest.fixture(autouse=True)
def no_resolver(monkeypatch):
    def unknown(name: str) -> str:
        raise socket.gaierror(f"{name} is unknown")

    monkeypatch.setattr(socket, "gethostbyname", unknown)


def counters_of(scenario: str) -> list[Counters]:
    """The counters of each row, in the order of the sorted listing."""
    found = []
    for file in ("Ln_--persistent-conn", "Ln_--stats_--exact"):
        printed = steps(f"{scenario}/{file}.txt")[0][1].splitlines()
        found.append([re.findall(r" (\d+)(?= |$)", row) for row in printed[3:]])
    rows = []
    for gauges, totals in zip(*found, strict=True):
        _, persistent, active, inactive = map(int, gauges or (0, 0, 0, 0))
        rows.append(Counters(active, inactive, persistent, *map(int, totals)))
    return rows


def put_counters(ipvsadm: Ipvsadm, scenario: str) -> None:
    rows: list[tuple[ServiceKey, RealServerKey | None]] = []
    for service in ipvsadm.engine.table:
        rows.append((service.key, None))
        keys = sorted((real.key for real in service.real_servers), key=lambda key: key.order)
        rows.extend((service.key, key) for key in keys)
    ipvsadm.engine.counters.update(zip(rows, counters_of(scenario), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recorded_session_prints_the_same(scenario):
    ipvsadm = Ipvsadm()
    if (FIXTURES / scenario / "commands.txt").exists():
        for line, printed, status in steps(f"{scenario}/commands.txt"):
            assert (line, *ipvsadm(line.removeprefix("ipvsadm "))) == (line, printed, status)
    put_counters(ipvsadm, scenario)
    for name in LISTINGS:
        (line, printed, status), *_ = steps(f"{scenario}/{name}.txt")
        assert (line, *ipvsadm(line.removeprefix("ipvsadm "))) == (line, printed, status)


def address_of(text: str) -> IPv4Address | IPv6Address:
    """`0A000002`, or an IPv6 address, as in /proc/net/ip_vs_conn."""
    return ip_address(text) if ":" in text else IPv4Address(int(text, 16))


def recorded_table(scenario: str, listing: str) -> SyntheticPlane:
    """The connections of the kernel's own file; their time from the listing, made later."""
    rows = (FIXTURES / scenario / "proc_net_ip_vs_conn.txt").read_text().splitlines()[1:]
    times = re.findall(r"^[TU][CD]P (\d+):(\d+) ", listing, re.MULTILINE)
    plane = SyntheticPlane(reals=len(rows) + 1)
    for at, (row, (minutes, seconds)) in enumerate(zip(rows, times, strict=True)):
        protocol_name, client, cport, vip, vport, real, rport, state, _ = row.split()
        protocol, is_template = Protocol[protocol_name], state == "ASSURED"
        number = (TEMPLATE_STATES if is_template else STATES[protocol]).index(state)
        timeout = TCP_TIMEOUTS_S[number] if protocol is Protocol.TCP else UDP_TIMEOUT_S
        if is_template:
            timeout = 360
        left = int(minutes) * 60 + int(seconds)
        plane.put_real(at, address_of(real), int(rport, 16))
        plane.put(at, Slot(
            address_of(client), int(cport, 16), address_of(vip), int(vport, 16), at, protocol,
            number, NOW - (timeout - left), template=is_template, timeout=timeout,
        ))  # fmt: skip
    return plane


@pytest.mark.parametrize("options", ["Lcn", "Lcn_--persistent-conn"])
@pytest.mark.parametrize("scenario", WITH_CONNECTIONS)
def test_recorded_connections_are_printed_the_same(scenario, options):
    (line, printed, status), *_ = steps(f"{scenario}/{options}.txt")
    engine = SyntheticEngine(recorded_table(scenario, printed))
    out = io.StringIO()
    environment = Environment(stdout=out, stderr=out, engine=lambda: engine)
    ended = main(line.removeprefix("ipvsadm ").split(), environment)
    assert (out.getvalue(), ended) == (printed, status)


def test_every_recorded_scenario_is_compared():
    recorded = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
    assert sorted(WITH_CONNECTIONS) == recorded


def test_the_recorded_errors_are_the_same():
    ipvsadm = Ipvsadm()
    refused = []
    for line, printed, status in steps("errors.txt"):
        if line.startswith("printf"):
            # `-R` is not there yet: its lines one by one, for what they do to the table.
            for restored in re.findall(r"(-[Aa] .*?)\\n", line):
                if "junk" not in line:
                    assert ipvsadm(restored) == ("", 0)
            continue
        said, ended = ipvsadm(line.removeprefix("ipvsadm "))
        if NOT_YET in said:
            refused.append(line)
            continue
        assert (line, said, ended) == (line, printed, status)
    assert refused == [
        "ipvsadm -a -t 10.0.0.100:80 -r 10.1.0.13:80 -x 5 -y 9",
        "ipvsadm --stop-daemon master",
        "ipvsadm -Sn",
    ]
