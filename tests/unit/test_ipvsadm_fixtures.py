"""Sessions with the kernel's IPVS and ipvsadm 1.31, replayed and compared byte for byte.

The recordings lie in $ONEVIP_FIXTURES or ../shared/fixtures beside the repository; without them
these tests skip.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from ipvsadm_fake import Ipvsadm
from onevip.model import Counters, RealServerKey, ServiceKey

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
