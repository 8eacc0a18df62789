"""`onevip connections`: lines, JSON, counts, filters and their errors."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from onevip.command import connection_filter
from onevip.command.connections import main
from onevip.command.environment import Environment
from onevip.engines.memory import MemoryEngine
from onevip.model import Connection, ConnectionFilter, Protocol, ServiceKey, UsageError

CLIENT, VIP, REAL = (IPv4Address(text) for text in ("198.51.100.7", "192.0.2.100", "10.1.0.10"))
CLIENT6, VIP6, REAL6 = (IPv6Address(f"2001:db8::{text}") for text in ("7", "100", "10"))
TCP, UDP = Protocol.TCP, Protocol.UDP
HELD = [
    Connection(TCP, CLIENT, 40000, VIP, 80, REAL, 8080, "ESTABLISHED", 893, active=True),
    Connection(TCP, CLIENT, 40001, VIP, 80, REAL + 1, 8080, "TIME_WAIT", 59),
    Connection(UDP, CLIENT + 1, 5353, VIP, 53, REAL, 53, "UDP", 300),
    Connection(TCP, CLIENT6, 50000, VIP6, 443, REAL6, 443, "ESTABLISHED", 7200, active=True),
    Connection(TCP, CLIENT, 0, VIP, 80, REAL, 8080, "ASSURED", 355, template=True),
]


@pytest.fixture
def connections():
    """`connections("--json")` returns what it printed."""
    engine = MemoryEngine()
    engine.held = HELD

    def run(*argv: str) -> str:
        out = io.StringIO()
        assert main(list(argv), Environment(stdout=out, engine=lambda: engine)) == 0
        return out.getvalue()

    return run


def test_lines(connections):
    assert connections() == (
        "Proto Expires  State       Client                VIP                   Real server\n"
        "TCP     14:53  ESTABLISHED 198.51.100.7:40000    192.0.2.100:80        10.1.0.10:8080\n"
        "TCP      0:59  TIME_WAIT   198.51.100.7:40001    192.0.2.100:80        10.1.0.11:8080\n"
        "UDP      5:00  UDP         198.51.100.8:5353     192.0.2.100:53        10.1.0.10:53\n"
        "TCP    120:00  ESTABLISHED [2001:db8::7]:50000   [2001:db8::100]:443   "
        "[2001:db8::10]:443\n"
        "TCP      5:55  ASSURED     198.51.100.7:0        192.0.2.100:80        10.1.0.10:8080\n"
    )


def test_templates_of_a_mark_and_what_is_disabled():
    mark = IPv4Address(7)
    engine = MemoryEngine()
    engine.held = [
        Connection(Protocol.IP, CLIENT - 7, 0, mark, 0, REAL, 0, "NONE", 48, template=True),
        Connection(TCP, CLIENT, 0, VIP, 65535, REAL, 65535, "ASSURED", 355, template=True),
    ]

    def printed(*argv: str) -> list[str]:
        out = io.StringIO()
        assert main(list(argv), Environment(stdout=out, engine=lambda: engine)) == 0
        return out.getvalue().splitlines()

    of_mark = "IP       0:48  NONE        198.51.100.0:0        0.0.0.7:0             10.1.0.10:0"
    assert printed()[1:] == [
        of_mark,
        "TCP      5:55  ASSURED     198.51.100.7:0        192.0.2.100:65535     10.1.0.10:65535",
    ]
    assert printed("--service", "ip:0.0.0.7:0")[1:] == [of_mark]
    assert json.loads(printed("--json")[0]) == {
        "protocol": "ip", "state": "NONE", "expires_s": 48, "active": False, "template": True,
        "client": "198.51.100.0", "client_port": 0, "vip": "0.0.0.7", "vip_port": 0,
        "real": "10.1.0.10", "real_port": 0,
    }  # fmt: skip
    counts = [line.split() for line in printed("--count")]
    assert ["State", "IP", "TCP", "UDP"] in counts
    assert ["NONE", "(template)", "1", "0", "0"] in counts
    assert ["IP", "0.0.0.7:0", "0", "1"] in counts


def test_without_connections_there_is_the_header(connections):
    printed = connections("--client", "203.0.113.1")
    assert printed == connections().splitlines(keepends=True)[0]


def test_json_is_an_object_a_line(connections):
    rows = [json.loads(line) for line in connections("--json").splitlines()]
    assert rows == [
        {
            "protocol": one.protocol.name.lower(), "state": one.state,
            "expires_s": one.expires_s, "active": one.active, "template": one.template,
            "client": str(one.client), "client_port": one.client_port,
            "vip": str(one.vip), "vip_port": one.vip_port,
            "real": str(one.real), "real_port": one.real_port,
        }
        for one in HELD
    ]  # fmt: skip


def test_counts(connections):
    assert connections("--count") == (
        "State                                TCP         UDP\n"
        "ESTABLISHED                            2           0\n"
        "TIME_WAIT                              1           0\n"
        "UDP                                    0           1\n"
        "ASSURED (template)                     1           0\n"
        "\n"
        "Service                      Connections   Templates\n"
        "TCP 192.0.2.100:80                     2           1\n"
        "UDP 192.0.2.100:53                     1           0\n"
        "TCP [2001:db8::100]:443                1           0\n"
        "\n"
        "Real server                  Connections   Templates\n"
        "10.1.0.10:53                           1           0\n"
        "10.1.0.10:8080                         1           1\n"
        "10.1.0.11:8080                         1           0\n"
        "[2001:db8::10]:443                     1           0\n"
        "\n"
        "Total                                  4           1\n"
    )


def test_counts_of_an_empty_table(connections):
    assert connections("--count", "--real", "10.9.9.9").splitlines()[-1].split() == [
        "Total", "0", "0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--client 192.0.2.7", ConnectionFilter(client=IPv4Network("192.0.2.7/32"))),
        ("--client 192.0.2.0/24", ConnectionFilter(client=IPv4Network("192.0.2.0/24"))),
        ("--client 2001:db8::/32", ConnectionFilter(client=IPv6Network("2001:db8::/32"))),
        ("--service tcp:192.0.2.1:80", ConnectionFilter(service=ServiceKey(TCP, VIP - 99, 80))),
        (
            "--service sctp:192.0.2.1:80",
            ConnectionFilter(service=ServiceKey(Protocol.SCTP, VIP - 99, 80)),
        ),
        ("--service UDP:192.0.2.1:0", ConnectionFilter(service=ServiceKey(UDP, VIP - 99, 0))),
        (
            "--service tcp:[2001:db8::100]:443",
            ConnectionFilter(service=ServiceKey(TCP, VIP6, 443)),
        ),
        ("--real 10.1.0.10", ConnectionFilter(real=REAL)),
        ("--real 10.1.0.10:8080", ConnectionFilter(real=REAL, real_port=8080)),
        ("--real 2001:db8::10", ConnectionFilter(real=REAL6)),
        ("--real [2001:db8::10]:80", ConnectionFilter(real=REAL6, real_port=80)),
        ("--state ESTABLISHED", ConnectionFilter(states=frozenset({"ESTABLISHED"}))),
        ("--state syn_recv,UDP", ConnectionFilter(states=frozenset({"SYN_RECV", "UDP"}))),
    ],
)
def test_words_of_filters(words, wanted):
    option, value = words.split()
    given = dict.fromkeys(("client", "service", "real", "state"))
    given[option.removeprefix("--")] = value
    assert connection_filter.read(**given) == wanted


@pytest.mark.parametrize(
    ("argv", "ports"),
    [
        ("--client 198.51.100.0/29 --state ESTABLISHED,UDP", ["40000"]),
        ("--client 198.51.100.8", ["5353"]),
        ("--service tcp:192.0.2.100:80 --real 10.1.0.11", ["40001"]),
        ("--service tcp:192.0.2.100:0", ["40000", "40001", "0"]),
        ("--real [2001:db8::10]:443", ["50000"]),
        ("--state ASSURED", ["0"]),
    ],
)
def test_filters_go_together(connections, argv, ports):
    lines = connections(*argv.split()).splitlines()[1:]
    assert [line.split()[3].rpartition(":")[2] for line in lines] == ports


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            "--client 192.0.2.300",
            "--client 192.0.2.300: no address or network; write 192.0.2.7, 192.0.2.0/24, 2001:",
        ),
        ("--client 192.0.2.0/33", "--client 192.0.2.0/33: no address or network; write 192.0.2.7"),
        ("--client web.example", "--client web.example: no address or network; write 192.0.2.7"),
        (
            "--client 192.0.2.7/24",
            "--client 192.0.2.7/24: address bits beyond the mask; write 192.0.2.0/24",
        ),
        (
            "--service 192.0.2.1:80",
            "--service 192.0.2.1:80: '192.0.2.1' is no protocol; write tcp:",
        ),
        ("--service tcp:192.0.2.1", "--service tcp:192.0.2.1: its port is missing; write tcp:"),
        (
            "--service fwm:258",
            "--service fwm:258: connections do not know their mark; write ip:0.0.1.2:0 for its",
        ),
        (
            "--service fwm:web",
            "--service fwm:web: connections do not know their mark; write ip:0.0.0.7:0 for its",
        ),
        (
            "--service tcp:192.0.2.1:http",
            "--service tcp:192.0.2.1:http: port 'http' is no number from 0 to 65535; write tcp:",
        ),
        ("--service tcp:2001:db8::1:80", "--service tcp:2001:db8::1:80: its port is missing"),
        ("--service tcp:[2001:db8::1]", "--service tcp:[2001:db8::1]: no ]:PORT after the address"),
        ("--service tcp:[192.0.2.1]:80", "brackets are for IPv6 addresses; write tcp:"),
        ("--real web1", "--real web1: 'web1' is no address; write 10.1.0.10, 10.1.0.10:80"),
        ("--real 10.1.0.10:65536", "port '65536' is no number from 0 to 65535; write"),
        ("--real 10.1.0.10:-1", "port '-1' is no number"),
        ("--real 10.1.0.10:", "port '' is no number"),
        ("--state OPEN", "--state OPEN: there is no state 'OPEN'; write NONE, ESTABLISHED"),
        ("--state ESTABLISHED,", "there is no state ''"),
        ("--count --json", "--count is a table, --json is for lines: leave one out"),
    ],
)
def test_a_bad_filter_says_what_where_and_what_to_do(connections, argv, said):
    with pytest.raises(UsageError) as caught:
        connections(*argv.split())
    assert str(caught.value).startswith("connections: ")
    assert said in str(caught.value)


MANY_LINES = """
import sys
from ipaddress import IPv4Address
from onevip.command.main import main
from onevip.engines import bpf
from onevip.engines.memory import MemoryEngine
from onevip.model import Connection, Protocol
a = IPv4Address("192.0.2.1")
engine = MemoryEngine()
engine.held = [Connection(Protocol.TCP, a, n % 65536, a, 80, a, 80, "NONE", 2) for n in range(9999)]
bpf.BpfEngine = lambda: engine
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("argv", ["connections", "connections --json", "ipvsadm -Lcn"])
def test_a_reader_that_has_enough_ends_it_quietly(argv, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(MANY_LINES)
    script = f"set -o pipefail; {sys.executable} {program} {argv} | head -n 2"
    ended = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (141, "")
    assert len(ended.stdout.splitlines()) == 2
