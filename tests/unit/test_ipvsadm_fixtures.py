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

# Those of IPv6 use what onevip does not have yet.
SCENARIOS = [
    "dr4_wrr",
    "empty",
    "fwmark4",
    "nat4_mh",
    "nat4_ports",
    "nat4_rr",
    "nat4_sched_flags",
    "nat4_sh",
    "nat4_wlc",
    "no_real_servers",
    "persist4",
    "persist4_allports",
    "thresholds4",
    "timeouts_daemon",
    "tun4_wrr",
    "udp4_ops",
    "udp4_rr",
]
#: Scenario → words by which command lines and rows of what is not there yet are known.
NOT_YET_IN = {
    "fwmark4": [" -f 8 -6 ", "FWM  8 IPv6 "],
    "nat4_sched_flags": [" --pe sip", "TCP  10.0.0.100:83 ", "UDP  10.0.0.100:5060 "],
    "timeouts_daemon": [" --start-daemon "],
}
LISTINGS = [
    "Ln",
    "Ln_--exact",
    "Ln_--nosort",
    "Ln_--persistent-conn",
    "Ln_--rate",
    "Ln_--stats",
    "Ln_--stats_--exact",
    "Ln_--thresholds",
    "Ln_--timeout",
    "Ln_-f_7",
    "Ln_-t_10.0.0.100:80",
    "Ln_-t_10.0.0.100:81",
]
# Those of IPv6 too: they are about connections only.
WITH_CONNECTIONS = [*SCENARIOS, "dr6_wrr", "nat6_wlc", "persist6_mask64"]
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


def is_not_yet(scenario: str, line: str) -> bool:
    return any(words in line for words in NOT_YET_IN.get(scenario, ()))


def here(scenario: str, printed: str) -> str:
    """A listing without the rows of services that onevip cannot have yet; none has servers."""
    lines = printed.splitlines(keepends=True)
    return "".join(line for line in lines if not is_not_yet(scenario, line))


def by_service(listing: str) -> str:
    """An unsorted listing with its services sorted: they came in the kernel's hash order.

    The order of each service's real servers, which is the scheduler's, stays.
    """
    titles, *services = re.split(r"^(?=(?:TCP|UDP|SCTP|FWM) )", listing, flags=re.MULTILINE)
    return titles + "".join(sorted(services))


def numbers(scenario: str, file: str, columns: int) -> list[list[int]]:
    """The last columns of each row of a listing, zeros where a service has none."""
    rows = here(scenario, steps(f"{scenario}/{file}.txt")[0][1]).splitlines()[3:]
    return [
        list(map(int, row.split()[-columns:]))
        if re.search(r"( +\d+){4} *$", row)
        else [0] * columns
        for row in rows
    ]


def put_counters(ipvsadm: Ipvsadm, scenario: str, totals: str) -> None:
    """Those of the recording; its totals moved on between one listing and the next."""
    rows: list[tuple[ServiceKey, RealServerKey | None]] = []
    for service in ipvsadm.engine.table:
        rows.append((service.key, None))
        keys = sorted((real.key for real in service.real_servers), key=lambda key: key.order)
        rows.extend((service.key, key) for key in keys)
    recorded = zip(
        numbers(scenario, "Ln_--persistent-conn", 4),
        numbers(scenario, totals, 5),
        numbers(scenario, "Ln_--rate", 5),
        strict=True,
    )
    for row, ((_, persistent, active, inactive), sums, rates) in zip(rows, recorded, strict=True):
        ipvsadm.engine.counters[row] = Counters(active, inactive, persistent, *sums, *rates)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recorded_session_prints_the_same(scenario):
    ipvsadm = Ipvsadm()
    if (FIXTURES / scenario / "commands.txt").exists():
        for line, printed, status in steps(f"{scenario}/commands.txt"):
            said, ended = ipvsadm(line.removeprefix("ipvsadm "))
            assert (NOT_YET in said) == (is_not_yet(scenario, f"{line} ") and status == 0)
            if NOT_YET not in said:
                assert (line, said, ended) == (line, printed, status)
    for name in LISTINGS:
        if not (FIXTURES / scenario / f"{name}.txt").exists():
            assert name.startswith(("Ln_-f_", "Ln_-t_"))  # of one service of some scenarios
            continue
        put_counters(ipvsadm, scenario, name if "--stats" in name else "Ln_--stats")
        (line, printed, status), *_ = steps(f"{scenario}/{name}.txt")
        said, ended = ipvsadm(line.removeprefix("ipvsadm "))
        wanted = here(scenario, printed)
        if "--nosort" in name:
            said, wanted = by_service(said), by_service(wanted)
        assert (line, said, ended) == (line, wanted, status)


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
        "ipvsadm --stop-daemon master",
        "ipvsadm -Sn",
    ]
