"""`onevip ipvsadm`: from the command line to one change or one listing, as ipvsadm 1.31."""

from __future__ import annotations

import io
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from ipvsadm_fake import Ipvsadm
from onevip.command.environment import Environment
from onevip.command.ipvsadm import listing, main
from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    Connection,
    Counters,
    DataplaneError,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
    Zero,
)

VIP = IPv4Address("192.0.2.1")
REAL = IPv4Address("198.51.100.7")
CLIENT, LOCAL, MAXIMUM = (
    IPv4Address(text) for text in ("10.0.0.2", "127.0.0.1", "255.255.255.255")
)
CLIENT6, VIP6, REAL6 = (IPv6Address(text) for text in ("fd00::2", "fd00::100", "fd01::10"))
WEB = ServiceKey(Protocol.TCP, VIP, 80)
DNS = ServiceKey(Protocol.UDP, VIP, 53)


@pytest.fixture
def ipvsadm() -> Ipvsadm:
    return Ipvsadm()


@pytest.fixture
def web(ipvsadm: Ipvsadm) -> Ipvsadm:
    """A table with one service and one real server."""
    assert ipvsadm("-A -t 192.0.2.1:80 -s rr") == ("", 0)
    assert ipvsadm("-a -t 192.0.2.1:80 -r 198.51.100.7 -m -w 3") == ("", 0)
    ipvsadm.engine.applied.clear()
    return ipvsadm


@pytest.mark.parametrize(
    ("command_line", "change"),
    [
        ("-A -t 192.0.2.1:80 -s rr", AddService(WEB, "rr")),
        ("-At 192.0.2.1:80 -srr", AddService(WEB, "rr")),
        ("-A -t192.0.2.1:80 -s=rr", AddService(WEB, "rr")),
        ("--add-service --tcp-service=192.0.2.1:80 --scheduler rr", AddService(WEB, "rr")),
        ("-A -u 192.0.2.1:53", AddService(DNS, "wlc")),
        ("-A -u 192.0.2.1:domain", AddService(DNS, "wlc")),
        ("-A -t 192.0.513:http", AddService(WEB, "wlc")),  # inet_aton's short form
        ("-C", Clear()),
        ("-Z", Zero()),
    ],
)
def test_a_command_line_is_one_change(ipvsadm, command_line, change):
    assert ipvsadm(command_line) == ("", 0)
    assert ipvsadm.engine.applied == [change]


@pytest.mark.parametrize(
    ("command_line", "change"),
    [
        # Omitted options of -E and -e are reset to their defaults.
        ("-E -t 192.0.2.1:80", EditService(WEB, "wlc")),
        ("-E -t 192.0.2.1:80 -s sed", EditService(WEB, "sed")),
        ("-e -t 192.0.2.1:80 -r 198.51.100.7:80", EditRealServer(WEB, RealServer(REAL, 80))),
        ("-D -t 192.0.2.1:80", DeleteService(WEB)),
        ("-Z -t 192.0.2.1:80", Zero(WEB)),
        ("-d -t 192.0.2.1:80 -r 198.51.100.7", DeleteRealServer(WEB, RealServerKey(REAL, 80))),
        (
            "-a -t 192.0.2.1:80 -r 198.51.100.7:8080 -m",
            AddRealServer(WEB, RealServer(REAL, 8080, ForwardingMethod.MASQ, 1)),
        ),
        (
            "-a -t 192.0.2.1:80 -r 198.51.100.8:8080 -i -w 2147483647",
            AddRealServer(WEB, RealServer(REAL + 1, 80, ForwardingMethod.IPIP, 2**31 - 1)),
        ),
        (
            "-a -t 192.0.2.1:80 -r 198.51.100.8:8080 -g -w 0",
            AddRealServer(WEB, RealServer(REAL + 1, 80, ForwardingMethod.GATE, 0)),
        ),
        # -r before -t lends no port, as ever.
        (
            "-a -r 198.51.100.8 -t 192.0.2.1:80 -m",
            AddRealServer(WEB, RealServer(REAL + 1, 0, ForwardingMethod.MASQ, 1)),
        ),
    ],
)
def test_a_command_line_edits_what_it_names(web, command_line, change):
    assert web(command_line) == ("", 0)
    assert web.engine.applied == [change]


@pytest.mark.parametrize(
    ("command_line", "text"),
    [
        ("-A -t 192.0.2.1:80", "Service already exists"),
        ("-A -t 192.0.2.2:80 -s nosuch", "Scheduler or persistence engine not found"),
        ("-E -t 192.0.2.2:80", "No such service"),
        ("-E -t 192.0.2.1:80 -s nosuch", "Scheduler or persistence engine not found"),
        ("-D -t 192.0.2.2:80", "No such service"),
        ("-Z -t 192.0.2.2:80", "No such service"),
        ("-a -t 192.0.2.2:80 -r 198.51.100.7", "Service not defined"),
        ("-a -t 192.0.2.1:80 -r 198.51.100.7", "Destination already exists"),
        ("-e -t 192.0.2.2:80 -r 198.51.100.7", "Service not defined"),
        ("-e -t 192.0.2.1:80 -r 198.51.100.9", "No such destination"),
        ("-d -t 192.0.2.2:80 -r 198.51.100.7", "Service not defined"),
        ("-d -t 192.0.2.1:80 -r 198.51.100.7:8080", "No such destination"),
    ],
)
def test_the_table_refuses_with_the_kernels_texts(web, command_line, text):
    assert web(command_line) == (f"{text}\n", 255)
    assert web.engine.applied == []


@pytest.mark.parametrize("address", ["224.0.0.1", "0.0.0.0", "255.255.255.255"])
def test_a_real_server_is_one_host(web, address):
    text = "Invalid operation.  Possibly wrong module version, address not unicast, ...\n"
    assert web(f"-a -t 192.0.2.1:80 -r {address}:80") == (text, 255)
    assert web.engine.applied == []


TRY = "Try `ipvsadm -h' or 'ipvsadm --help' for more information."


@pytest.mark.parametrize(
    ("command_line", "text", "status"),
    [
        ("--bogus", TRY, 255),
        ("foo", TRY, 255),
        ("-t 192.0.2.1:80 -A", TRY, 255),
        ("-L --bogus", "--bogus: unknown option", 255),
        ("-Lq", "-Lq: unknown option", 255),
        ("-L -t", "-t: missing argument", 255),
        ("-L --numeric=1", "--numeric=1: option does not take an argument", 255),
        ("-L -n=1", "-n=1: option does not take an argument", 255),
        ("-L -A", "invalid option `-A'", 2),
        ("-L word", "unexpected argument word", 2),
        ("-L -- -n", "unexpected argument -n", 2),
        ("-L -n -n", "multiple 'numeric' options specified", 2),
        (
            "-A -t 192.0.2.1:80 -u 192.0.2.1:80",
            "multiple 'service-address' options specified",
            2,
        ),
        (
            "-A",
            "You need to supply the 'service-address' option for the 'add-service' command",
            2,
        ),
        (
            "-d -t 192.0.2.1:80",
            "You need to supply the 'real-server' option for the 'delete-server' command",
            2,
        ),
        ("-C -n", "Illegal 'numeric' option with the 'flush' command", 2),
        ("-A -t 192.0.2.1:80 -w 1", "Illegal 'weight' option with the 'add-service' command", 2),
        (
            "-L -c --daemon",
            "The option 'daemon' conflicts with the 'connection' option in the 'list' command",
            2,
        ),
        ("-L -c --stats", "options conflicts in the list command", 2),
        ("-A -t 80", "illegal virtual server address[:port] specified", 2),
        ("-A -t 192.0.2.1:65536", "illegal virtual server address[:port] specified", 2),
        ("-A -t [2001:db8::1]", "illegal virtual server address[:port] specified", 2),
        ("-a -t 192.0.2.1:80 -r 80", "illegal real server address[:port] specified", 2),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -w -1", "illegal weight specified", 2),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -w 2147483648", "illegal weight specified", 2),
        (
            "-a -t 192.0.2.1:80 -r 192.0.2.2 -gm",
            "multiple 'forwarding-method' options specified",
            2,
        ),
        (
            "-a -t 192.0.2.1:80 -r [2001:db8::2]:80",
            "Different address family is allowed only for tunneling servers",
            2,
        ),
        ("-A -t 192.0.2.1", "Zero port specified for non-persistent service", 2),
        ("-A -t 192.0.2.1:80 -p 0", "invalid timeout value `0' specified", 2),
        ("-A -f 0", "invalid fwmark value `0' specified", 2),
        ("-A -6 -f 1", "-6 used before -f\n", 2),
        ("-A -t 192.0.2.1:80 -o", "One-Packet Scheduling is only for UDP virtual services", 2),
        ("-A -t 192.0.2.1:80 -b sh-port", "incompatible scheduler flag `sh-port'", 2),
        (
            "-a -t 192.0.2.1:80 -r 192.0.2.2 -i --tun-type gue",
            "You need to supply the 'tun-port' option for the 'gue' tunnel type",
            2,
        ),
        ("--set 1 2", "--set option requires 3 timeout values", 2),
        ("--start-daemon x", "illegal start-daemon parameter specified", 2),
        ("--stop-daemon x", "illegal start_daemon specified", 2),
    ],
)
def test_usage_errors_are_the_originals(ipvsadm, command_line, text, status):
    assert ipvsadm(command_line) == (f"{text}\n", status)
    assert ipvsadm.engine.applied == []


@pytest.mark.parametrize(
    ("command_line", "name"),
    [
        ("-S -n", "-S (save)"),
        ("-R", "-R (restore)"),
        ("--set 1 2 3", "--set"),
        ("--start-daemon master", "--start-daemon"),
        ("-A -t 192.0.2.1:80 -p", "-p (persistent)"),
        ("-A -t 192.0.2.1:80 -p 60", "-p (persistent)"),
        ("-A -f 7", "-f (fwmark-service)"),
        ("-A -u 192.0.2.1:53 -o", "-o (ops)"),
        ("-A --sctp-service 192.0.2.1:80", "--sctp-service"),
        ("-A -t [2001:db8::1]:80", "IPv6 (2001:db8::1)"),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -x 5", "-x (u-threshold)"),
        ("-L --rate", "--rate"),
    ],
)
def test_what_is_missing_is_refused_by_name(ipvsadm, command_line, name):
    assert ipvsadm(command_line) == (f"ipvsadm: {name} is not supported by onevip yet\n", 2)
    assert ipvsadm.engine.applied == []


def test_a_listing_needs_no_command(web):
    assert web("") == web("-L")


def test_a_single_service_is_listed_without_the_version(web):
    printed, status = web("-Ln -t 192.0.2.1:80")
    assert status == 0
    assert printed == (
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        "TCP  192.0.2.1:80 rr\n"
        "  -> 198.51.100.7:80              Masq    3      0          0         \n"
    )


def test_a_missing_service_cannot_be_listed(web):
    assert web("-Ln -t 192.0.2.9:80") == ("No such service\n", 1)


def test_statistics_are_shortened_unless_exact(web):
    web.engine.counters[WEB, None] = Counters(0, 0, 0, 99999999, 100000000, 0, 10**11, 10**14)
    shortened, _ = web("-Ln --stats")
    assert "TCP  192.0.2.1:80                 99999999  100000K        0     100G     100T\n" in (
        shortened
    )
    exact, _ = web("-Ln --stats --exact")
    assert (
        "TCP  192.0.2.1:80                 99999999 100000000        0 100000000000"
        " 100000000000000\n"
    ) in exact


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0, "        0"),
        (99999999, " 99999999"),
        (100000000, "  100000K"),
        (999999999, "  999999K"),
        (1000000000, "    1000M"),
        (99999999999, "   99999M"),
        (100000000000, "     100G"),
        (99999999999999, "   99999G"),
        (100000000000000, "     100T"),
    ],
)
def test_a_short_number_is_nine_columns(value, cell):
    assert listing.short_number(value) == cell


def test_the_newest_real_server_stands_first_in_the_unsorted_listing(web):
    web("-a -t 192.0.2.1:80 -r 198.51.100.8 -m")

    def reals(text: str) -> list[str]:
        return [line.split()[1] for line in text.splitlines() if line.startswith("  -> 198")]

    assert reals(web("-Ln")[0]) == ["198.51.100.7:80", "198.51.100.8:80"]
    assert reals(web("-Ln --nosort")[0]) == ["198.51.100.8:80", "198.51.100.7:80"]


def test_addresses_are_sorted_by_their_signed_difference(ipvsadm):
    for service in ("-u 10.0.0.1:53", "-t 10.0.0.1:81", "-t 192.0.2.1:80", "-t 10.0.0.1:80"):
        ipvsadm(f"-A {service}")
    services = [line for line in ipvsadm("-Ln")[0].splitlines() if line.endswith("wlc")]
    assert services == [
        "TCP  192.0.2.1:80 wlc",
        "TCP  10.0.0.1:80 wlc",
        "TCP  10.0.0.1:81 wlc",
        "UDP  10.0.0.1:53 wlc",
    ]


def test_names_are_asked_for_without_n_and_cut(web, monkeypatch):
    names = {"192.0.2.1": "vip.example", "198.51.100.7": "a-very-long-name.example.net"}
    monkeypatch.setattr(socket, "getnameinfo", lambda at, _: (names[at[0]], "http"))
    lines = web("-L")[0].splitlines()
    assert lines[3] == "TCP  vip.example:http rr"
    assert lines[4] == "  -> a-very-long-name.example.net Masq    3      0          0         "


def test_help_and_version_need_no_engine():
    def engine():
        raise AssertionError("asked for an engine")

    printed = io.StringIO()
    environment = Environment(stdout=printed, stderr=printed, engine=engine)
    assert main(["-v"], environment) == 0
    version = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"
    assert printed.getvalue() == version
    assert main(["-h"], environment) == 0
    assert printed.getvalue().startswith(
        f"{version}{version}Usage:\n  ipvsadm -A|E virtual-service"
    )


@pytest.mark.parametrize(("command_line", "status"), [("-L", 1), ("-C", 255)])
def test_an_engine_that_cannot_work_says_why(command_line, status):
    def engine():
        raise DataplaneError("load", "libbpf.so.1 not found: apt install libbpf1")

    printed = io.StringIO()
    environment = Environment(stdout=printed, stderr=printed, engine=engine)
    assert main([command_line], environment) == status
    assert printed.getvalue() == "ipvsadm: load: libbpf.so.1 not found: apt install libbpf1\n"


# Connections. What ipvsadm 1.31 printed of the same rows, by -c and what it takes along.

CONNECTIONS = [
    Connection(Protocol.TCP, MAXIMUM, 35378, MAXIMUM, 65535, MAXIMUM, 65535, "ESTABLISHED", 111),
    Connection(Protocol.TCP, CLIENT, 48926, VIP, 80, REAL, 80, "TIME_WAIT", 7200),
    Connection(Protocol.UDP, CLIENT, 48926, VIP, 53, REAL, 53, "UDP", 0),
    Connection(Protocol.TCP, CLIENT6, 43578, VIP6, 80, REAL6, 80, "TIME_WAIT", 360000),
    Connection(Protocol.TCP, LOCAL, 48926, LOCAL, 80, LOCAL, 80, "SYN_RECV", 59),
]
ROWS = """\
TCP 01:51  ESTABLISHED 255.255.255.255:35378 255.255.255.255:65535 255.255.255.255:65535
TCP 120:00 TIME_WAIT   10.0.0.2:48926     192.0.2.1:80       198.51.100.7:80
UDP 00:00  UDP         10.0.0.2:48926     192.0.2.1:53       198.51.100.7:53
TCP 6000:00 TIME_WAIT   [fd00::2]:43578    [fd00::100]:80     [fd01::10]:80
TCP 00:59  SYN_RECV    127.0.0.1:48926    127.0.0.1:80       127.0.0.1:80
"""
TITLES = """\
IPVS connection entries
pro expire state       source             virtual            destination
"""
SERVICE_WITH_CONNECTIONS = (
    "The option 'service-address' conflicts with the 'connection' option in the 'list' command"
)
PERSISTENCE_TITLES = TITLES[:-1] + "        pe name          pe_data\n"


@pytest.fixture
def with_connections(ipvsadm: Ipvsadm) -> Ipvsadm:
    ipvsadm.engine.held = CONNECTIONS
    return ipvsadm


@pytest.mark.parametrize(
    "command_line",
    [
        "-Lcn", "-l -c -n", "--list --connection --numeric", "-Lcn --nosort", "-Lcn --sort",
        "-Lcn -X", "-Lcn --exact", "-Lcn --syncid 3", "-Lcn --tun-info",
    ],
)  # fmt: skip
def test_connections(with_connections, command_line):
    assert with_connections(command_line) == (TITLES + ROWS, 0)


@pytest.mark.parametrize(
    "command_line", ["-Lcn --persistent-conn", "-Lcn --tun-info --persistent-conn --nosort"]
)
def test_connections_with_columns_of_persistence(with_connections, command_line):
    assert with_connections(command_line) == (PERSISTENCE_TITLES + ROWS, 0)


def test_connections_by_name(with_connections, monkeypatch):
    asked = []

    def getnameinfo(where, flags):
        asked.append(where)
        hosts = {"127.0.0.1": "localhost"}
        ports = {80: "http", 53: "domain" if flags == socket.NI_DGRAM else "53"}
        return hosts.get(where[0], where[0]), ports.get(where[1], str(where[1]))

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    printed, status = with_connections("-Lc")
    assert status == 0
    assert printed.splitlines()[3:] == [
        "TCP 120:00 TIME_WAIT   10.0.0.2:48926     192.0.2.1:http     198.51.100.7:http",
        "UDP 00:00  UDP         10.0.0.2:48926     192.0.2.1:domain   198.51.100.7:domain",
        "TCP 6000:00 TIME_WAIT   [fd00::2]:43578    [fd00::100]:http   [fd01::10]:http",
        "TCP 00:59  SYN_RECV    localhost:48926    localhost:http     localhost:http",
    ]
    assert len(asked) == 13  # 15 endpoints; 127.0.0.1:80 and the largest one stand there twice


@pytest.mark.parametrize(
    ("command_line", "text"),
    [
        ("-Lcn --stats", "options conflicts in the list command"),
        ("-Lcn --rate", "options conflicts in the list command"),
        ("-Lcn --thresholds", "options conflicts in the list command"),
        (
            "-Lcn --timeout",
            "The option 'timeout' conflicts with the 'connection' option in the 'list' command",
        ),
        (
            "-Lcn --daemon",
            "The option 'daemon' conflicts with the 'connection' option in the 'list' command",
        ),
        (
            "-Lcn --persistent-conn --timeout",
            "The option 'timeout' conflicts with the 'connection' option in the 'list' command",
        ),
        ("-Lcn -t 10.0.0.1:80", SERVICE_WITH_CONNECTIONS),
        ("-Lcn -f 3", SERVICE_WITH_CONNECTIONS),
        ("-Lcn -c", "multiple 'connection' options specified"),
        ("-Lcn --numeric", "multiple 'numeric' options specified"),
        ("-Lcn -w 3", "Illegal 'weight' option with the 'list' command"),
        ("-Lcn --pe sip", "Illegal 'pe' option with the 'list' command"),
        ("-Lcn -6", "-6 used before -f\n"),
        ("-Lcn foo", "unexpected argument foo"),
        ("-Zc", "Illegal 'connection' option with the 'zero' command"),
    ],
)
def test_what_does_not_go_with_connections(with_connections, command_line, text):
    assert with_connections(command_line) == (f"{text}\n", 2)
