"""`onevip ipvsadm`: from the command line to one change or one listing, as ipvsadm 1.31."""

from __future__ import annotations

import io
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from ipvsadm_fake import Ipvsadm
from onevip.command.environment import Environment
from onevip.command.ipvsadm import formats, main
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
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    Timeouts,
    VirtualService,
    Zero,
)
from onevip.model.service import SCHEDULERS

VIP = IPv4Address("192.0.2.1")
REAL = IPv4Address("198.51.100.7")
CLIENT, LOCAL, MAXIMUM = (
    IPv4Address(text) for text in ("10.0.0.2", "127.0.0.1", "255.255.255.255")
)
CLIENT6, VIP6, REAL6 = (IPv6Address(text) for text in ("fd00::2", "fd00::100", "fd01::10"))
MARK_7 = IPv4Address(7)
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
            "-a -t 192.0.2.1:80 -r 198.51.100.8 -i --tun-type ipip",
            AddRealServer(WEB, RealServer(REAL + 1, 80, ForwardingMethod.IPIP, 1)),
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
    ("words", "options"),
    [
        ("-t 192.0.2.1:80 -p", ServiceOptions(persistent_s=360)),
        ("-t 192.0.2.1:80 -p60", ServiceOptions(persistent_s=60)),
        ("-t 192.0.2.1:80 --persistent=2678400", ServiceOptions(persistent_s=2678400)),
        ("-t 192.0.2.1:80 -p -s rr", ServiceOptions(persistent_s=360)),
        (
            "-t 192.0.2.1:80 -p 60 -M 255.255.255.0",
            ServiceOptions(persistent_s=60, netmask=IPv4Address("255.255.255.0")),
        ),
        ("-t 192.0.2.1:80 -p 60 -M 255.255.255.255", ServiceOptions(persistent_s=60)),
        (
            "-t 192.0.2.1:80 -p 60 -M 0.255.0.255",  # need not be a prefix
            ServiceOptions(persistent_s=60, netmask=IPv4Address("0.255.0.255")),
        ),
        (
            "-M 0.0.0.0 -p 60 -t 192.0.2.1:80",
            ServiceOptions(persistent_s=60, netmask=IPv4Address(0)),
        ),
        ("-t 192.0.2.1:80 -b flag-1,flag-3", ServiceOptions(SchedulerFlag(0x28))),
        ("-t 192.0.2.1:80 -b flag-2,flag-2", ServiceOptions(SchedulerFlag.FLAG_2)),
        ("-t 192.0.2.1:80 -b sh-port -s sh", ServiceOptions(SchedulerFlag.PORT)),
        (
            "-t 192.0.2.1:80 -s mh -b mh-fallback,mh-port",
            ServiceOptions(SchedulerFlag.FALLBACK | SchedulerFlag.PORT),
        ),
        ("-u 192.0.2.1:53 -o", ServiceOptions(one_packet=True)),
        ("-f 7 --ops", ServiceOptions(one_packet=True)),
    ],
)
def test_options_of_a_service(ipvsadm, words, options):
    for command, kind in (("-A", AddService), ("-E", EditService)):
        assert ipvsadm(f"{command} {words}") == ("", 0)
        (change,) = ipvsadm.engine.applied[-1:]
        assert (type(change), change.options) == (kind, options)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("-f 7", ServiceKey.of_mark(7)),
        ("--fwmark-service=4294967295", ServiceKey.of_mark(2**32 - 1)),
        ("--sctp-service 192.0.2.1:5000", ServiceKey(Protocol.SCTP, VIP, 5000)),
        ("-t 192.0.2.1:0 -p", ServiceKey(Protocol.TCP, VIP, 0)),
        ("-u 192.0.2.1 -p", ServiceKey(Protocol.UDP, VIP, 0)),
    ],
)
def test_a_service_is_named_by_a_mark_or_a_protocol_and_any_port(ipvsadm, words, key):
    named = words.removesuffix(" -p")
    assert ipvsadm(f"-A {words}") == ("", 0)
    assert ipvsadm(f"-a {named} -r 198.51.100.7 -m") == ("", 0)
    assert ipvsadm(f"-E {words} -s lc") == ("", 0)
    assert ipvsadm(f"-Z {named}") == ("", 0)
    assert ipvsadm(f"-Ln {named}")[1] == 0
    assert ipvsadm(f"-d {named} -r 198.51.100.7") == ("", 0)
    assert ipvsadm(f"-D {named}") == ("", 0)
    real = RealServer(REAL, key.port, ForwardingMethod.MASQ)
    assert [change.service for change in ipvsadm.engine.applied] == [key] * 6
    assert ipvsadm.engine.applied[1] == AddRealServer(key, real)


def test_a_real_server_of_a_mark_keeps_its_port(ipvsadm):
    ipvsadm("-A -f 7")
    assert ipvsadm("-a -f 7 -r 198.51.100.7:http -g") == ("", 0)
    assert ipvsadm.engine.applied[-1] == AddRealServer(
        ServiceKey.of_mark(7), RealServer(REAL, 80, ForwardingMethod.GATE)
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_is_known(ipvsadm, scheduler):
    assert ipvsadm(f"-A -t 192.0.2.1:80 -s {scheduler}") == ("", 0)
    assert f"TCP  192.0.2.1:80 {scheduler}\n" in ipvsadm("-Ln")[0]


def test_an_empty_scheduler_name_is_wlc(ipvsadm):
    assert main(["-A", "-t", "192.0.2.1:80", "-s", ""], environment_of(ipvsadm.engine)) == 0
    assert ipvsadm.engine.applied == [AddService(WEB, "wlc")]


def test_what_an_edit_omits_goes_back_to_its_default(ipvsadm):
    ipvsadm("-A -t 192.0.2.1:80 -s sh -p 60 -M 255.255.255.0 -b sh-port")
    ipvsadm("-a -t 192.0.2.1:80 -r 198.51.100.7 -m -w 3 -x 9 -y 4")
    assert ipvsadm("-e -t 192.0.2.1:80 -r 198.51.100.7") == ("", 0)
    assert ipvsadm("-E -t 192.0.2.1:80") == ("", 0)
    assert ipvsadm.engine.table.get(WEB) == VirtualService(WEB, "wlc", (RealServer(REAL, 80),))


@pytest.mark.parametrize(
    ("words", "thresholds"),
    [("-x 100 -y 50", (100, 50)), ("-x 2147483647", (2**31 - 1, 0)), ("-y 0", (0, 0))],
)
def test_thresholds(web, words, thresholds):
    for command in ("-a", "-e"):
        assert web(f"{command} -t 192.0.2.1:80 -r 198.51.100.8 -m {words}") == ("", 0)
        real = web.engine.applied[-1].real
        assert (real.upper_threshold, real.lower_threshold) == thresholds


@pytest.mark.parametrize("words", ["-x 5 -y 9", "-y 1"])
def test_a_lower_threshold_above_the_upper_one_is_out_of_range(web, words):
    refused = ("Numerical result out of range\n", 255)
    assert web(f"-a -t 192.0.2.1:80 -r 198.51.100.8 -m {words}") == refused
    assert web(f"-e -t 192.0.2.1:80 -r 198.51.100.7 -m {words}") == refused
    assert web.engine.applied == []


def test_timeouts_are_set_and_a_zero_keeps_the_old_one(ipvsadm):
    assert ipvsadm("-L --timeout") == ("Timeout (tcp tcpfin udp): 900 120 300\n", 0)
    assert ipvsadm("--set 90 0 2678400") == ("", 0)
    assert ipvsadm.engine.timeouts() == Timeouts(90, 120, 2678400)
    assert ipvsadm("--set 0 12 0") == ("", 0)
    assert ipvsadm("-Ln --timeout") == ("Timeout (tcp tcpfin udp): 90 12 2678400\n", 0)


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


SERVICE_CONFLICT = "conflicts with the 'service-address' option in the 'list' command"
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
        ("--set 1 2 3 4", "unexpected argument 4", 2),
        ("--set 1 2678401 3", "invalid timeout value `2678401' specified", 2),
        ("--set -1 2 3", "-1: unknown option", 255),
        ("--set 1 2 3 -n", "Illegal 'numeric' option with the 'set' command", 2),
        ("-A -t 192.0.2.1:80 -p 2678401", "invalid timeout value `2678401' specified", 2),
        ("-A -f 4294967296", "invalid fwmark value `4294967296' specified", 2),
        ("-A -f 7 -t 192.0.2.1:80", "multiple 'service-address' options specified", 2),
        ("-A -t 192.0.2.1:80 -s sh -b mh-port", "incompatible scheduler flag `mh-port'", 2),
        ("-A -t 192.0.2.1:80 -b flag-4", "invalid scheduler flag `flag-4'", 2),
        (
            "-A -t 192.0.2.1:80 -p -M 300.0.0.0",
            "illegal virtual server persistent mask specified",
            2,
        ),
        (
            "-A --sctp-service 192.0.2.1:80 -o",
            "One-Packet Scheduling is only for UDP virtual services",
            2,
        ),
        ("-A -f 7 -w 2", "Illegal 'weight' option with the 'add-service' command", 2),
        (
            "-D -t 192.0.2.1:80 -p",
            "Illegal 'persistent' option with the 'delete-service' command",
            2,
        ),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -x -1", "illegal u_threshold specified", 2),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -y 2147483648", "illegal l_threshold specified", 2),
        (
            "-a -t 192.0.2.1:80 -r 192.0.2.2 --tun-type ipip",
            "Tunnel options conflict with forward method",
            2,
        ),
        (
            "-L -t 192.0.2.1:80 --timeout",
            f"The option 'timeout' {SERVICE_CONFLICT}",
            2,
        ),
        ("-L --timeout --rate", "options conflicts in the list command", 2),
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
        ("--start-daemon master", "--start-daemon"),
        ("--stop-daemon backup", "--stop-daemon"),
        ("-L --daemon", "--daemon"),
        ("-L --tun-info", "--tun-info"),
        ("-A -u 192.0.2.1:5060 -p --pe sip", "--pe"),
        ("-A -f 7 -6", "-6 (ipv6)"),
        ("-A -f 7 -6 -p -M 64", "-6 (ipv6)"),
        ("-A -t [2001:db8::1]:80", "IPv6 (2001:db8::1)"),
        ("-a -t 192.0.2.1:80 -r [2001:db8::2]:80 -i", "IPv6 (2001:db8::2)"),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -i --tun-type gre", "--tun-type gre"),
        ("-a -t 192.0.2.1:80 -r 192.0.2.2 -i --tun-type gue --tun-port 6080", "--tun-type gue"),
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


def test_rates(web):
    rates = {
        "connections_rate": 99999999, "in_packets_rate": 10**8, "out_packets_rate": 3,
        "in_bytes_rate": 10**9, "out_bytes_rate": 5,
    }  # fmt: skip
    for row in (None, RealServerKey(REAL, 80)):
        web.engine.counters[WEB, row] = Counters(**rates)
    shortened = web("-Ln --rate")[0].splitlines()[1:]
    assert shortened == [
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
        "  -> RemoteAddress:Port",
        "TCP  192.0.2.1:80                 99999999  100000K        3    1000M        5",
        # The first three columns of a real server are never shortened.
        "  -> 198.51.100.7:80              99999999 100000000        3    1000M        5",
    ]
    assert web("-Ln --rate --exact")[0].splitlines()[3] == (
        "TCP  192.0.2.1:80                 99999999 100000000        3 1000000000        5"
    )


def test_of_several_layouts_one_is_printed(web):
    for words, layout in (
        ("--rate --stats --thresholds", "--stats"),
        ("--persistent-conn --thresholds --rate", "--rate"),
        ("--persistent-conn --thresholds", "--thresholds"),
    ):
        assert web(f"-Ln {words}") == web(f"-Ln {layout}")


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("-t 192.0.2.1:80 -s rr -p 300", "TCP  192.0.2.1:80 rr persistent 300"),
        (
            "-t 192.0.2.1:0 -p -M 255.255.255.0",
            "TCP  192.0.2.1:0 wlc persistent 360 mask 255.255.255.0",
        ),
        ("-t 192.0.2.1:80 -M 255.0.0.0", "TCP  192.0.2.1:80 wlc"),  # a mask of nothing
        (
            "-t 192.0.2.1:80 -s sh -b sh-port,sh-fallback",
            "TCP  192.0.2.1:80 sh (sh-fallback,sh-port)",
        ),
        ("-t 192.0.2.1:80 -s mh -b flag-2", "TCP  192.0.2.1:80 mh (mh-port)"),
        ("-t 192.0.2.1:80 -s sh -b flag-3", "TCP  192.0.2.1:80 sh ()"),  # as the original
        ("-t 192.0.2.1:80 -s lc -b flag-3,flag-1", "TCP  192.0.2.1:80 lc (flag-1,flag-3)"),
        ("-u 192.0.2.1:53 -o", "UDP  192.0.2.1:53 wlc ops"),
        ("-u 192.0.2.1:53 -p 9 -o -b flag-1", "UDP  192.0.2.1:53 wlc (flag-1) persistent 9 ops"),
        ("--sctp-service 192.0.2.1:99", "SCTP 192.0.2.1:99 wlc"),
        ("-f 7 -p 60", "FWM  7 wlc persistent 60"),
    ],
)
def test_a_service_is_listed_with_its_options(ipvsadm, words, row):
    assert ipvsadm(f"-A {words}") == ("", 0)
    for layout in ("", "--thresholds", "--persistent-conn"):
        assert ipvsadm(f"-Ln {layout}")[0].splitlines()[3:] == [row]


def test_services_by_mark_are_listed_last(ipvsadm):
    for service in ("-f 8", "-t 192.0.2.1:80", "--sctp-service 10.0.0.1:80", "-f 7"):
        ipvsadm(f"-A {service}")
    ipvsadm("-a -f 7 -r 198.51.100.7")
    services = [line.split()[1] for line in ipvsadm("-Ln")[0].splitlines()[3:]]
    assert services == ["192.0.2.1:80", "10.0.0.1:80", "7", "198.51.100.7:0", "8"]
    assert ipvsadm("-L -f 7")[0].startswith("Prot ")


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
    assert formats.short_number(value) == cell


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


def environment_of(engine) -> Environment:
    return Environment(stdout=io.StringIO(), stderr=io.StringIO(), engine=lambda: engine)


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
    Connection(Protocol.SCTP, CLIENT, 9, VIP, 99, REAL, 99, "COOKIE", 10),
    Connection(Protocol.IP, CLIENT, 0, MARK_7, 0, REAL, 0, "NONE", 48, template=True),
    Connection(Protocol.TCP, CLIENT, 0, VIP, 65535, REAL, 65535, "ASSURED", 5, template=True),
]
ROWS = """\
TCP 01:51  ESTABLISHED 255.255.255.255:35378 255.255.255.255:65535 255.255.255.255:65535
TCP 120:00 TIME_WAIT   10.0.0.2:48926     192.0.2.1:80       198.51.100.7:80
UDP 00:00  UDP         10.0.0.2:48926     192.0.2.1:53       198.51.100.7:53
TCP 6000:00 TIME_WAIT   [fd00::2]:43578    [fd00::100]:80     [fd01::10]:80
TCP 00:59  SYN_RECV    127.0.0.1:48926    127.0.0.1:80       127.0.0.1:80
SCTP 00:10  COOKIE      10.0.0.2:9         192.0.2.1:99       198.51.100.7:99
IP  00:48  NONE        10.0.0.2:0         0.0.0.7:0          198.51.100.7:0
TCP 00:05  ASSURED     10.0.0.2:0         192.0.2.1:65535    198.51.100.7:65535
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
    assert printed.splitlines()[3:7] == [
        "TCP 120:00 TIME_WAIT   10.0.0.2:48926     192.0.2.1:http     198.51.100.7:http",
        "UDP 00:00  UDP         10.0.0.2:48926     192.0.2.1:domain   198.51.100.7:domain",
        "TCP 6000:00 TIME_WAIT   [fd00::2]:43578    [fd00::100]:http   [fd01::10]:http",
        "TCP 00:59  SYN_RECV    localhost:48926    localhost:http     localhost:http",
    ]
    assert len(asked) == 22  # 24 endpoints; 127.0.0.1:80 and the largest one stand there twice


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
