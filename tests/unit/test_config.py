"""ldirectord.cf: what is accepted, as what, and what is refused with which words."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from onevip.config import World, load, parse
from onevip.model import (
    Check,
    CheckType,
    ConfigError,
    Configuration,
    ConfiguredService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
)
from onevip.model.service import SCHEDULERS

INVALID_RANGE = (
    "Invalid Range: 10.0.0.9-10.0.0.2: "
    "First value must be greater than or equal to the second value"
)
HOSTS = {
    "web1.example.test": "10.5.0.20",
    "www.example.test": "10.5.9.9",
    "5060": "0.0.19.196",
    "1": "0.0.0.1",
}
PORTS = {
    ("http", "tcp"): 80,
    ("http", "udp"): 80,
    ("pop3", "tcp"): 110,
    ("domain", "tcp"): 53,
    ("domain", "udp"): 53,
    ("tftp", "udp"): 69,
}


def resolve(host: str, version: int) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(HOSTS.get(host, host))
    except ValueError:
        return None
    return address if address.version == version else None


def port_of(name: str, protocol: str | None) -> int | None:
    found = [port for (n, p), port in PORTS.items() if n == name and protocol in (p, None)]
    return found[0] if found else None


WORLD = World(
    resolve=resolve,
    port_of=port_of,
    why_not_appendable=lambda path: "Permission denied" if "forbidden" in path else "",
    is_directory=lambda path: path == "/etc/maintenance",
    own_name=lambda: "lb1",
)


def read(text: str) -> Configuration:
    return parse(text, "lb.cf", WORLD)


def one(text: str) -> ConfiguredService:
    (service,) = read(text).services
    return service


def section(*lines: str, real: str = "10.0.0.2:80 gate", virtual: str = "10.0.0.1:80") -> str:
    return "\n".join([f"virtual={virtual}", f"\treal={real}", *(f"\t{line}" for line in lines)])


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"lb.cf:{caught.value.line}: {caught.value.message}")
    return caught.value


WALKTHROUGH = """\
checktimeout=3
checkinterval=1
autoreload=yes
quiescent=yes
virtual=10.20.0.100:80
        real=10.20.0.11:80 gate 2 ".healthcheck.html","OKAY"
        real=10.20.0.12:80 gate 2 ".healthcheck.html","OKAY"
        fallback=127.0.0.1:80 gate
        service=http
        checkport=80
        protocol=tcp
        scheduler=wrr
        checktype=negotiate
"""


def test_the_walkthrough_means_what_it_says():
    configuration = read(WALKTHROUGH)
    assert configuration.autoreload
    assert configuration.check_interval_s == 1
    assert configuration.warnings == ()
    (service,) = configuration.services
    assert service.key == ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 80)
    assert (service.scheduler, service.quiescent, service.cleanstop) == ("wrr", True, True)
    assert service.line == 5
    assert service.fallback == RealServer(
        IPv4Address("127.0.0.1"), 80, ForwardingMethod.GATE, weight=1
    )
    first, second = service.real_servers
    assert first.real == RealServer(IPv4Address("10.20.0.11"), 80, ForwardingMethod.GATE, 2)
    assert first.check == Check(
        CheckType.NEGOTIATE,
        IPv4Address("10.20.0.11"),
        80,
        timeout_s=3,
        interval_s=1,
        negotiate_timeout_s=3,
        service="http",
        request="/.healthcheck.html",
        receive="OKAY",
    )
    assert second.check == replace(first.check, address=IPv4Address("10.20.0.12"))


def test_defaults_are_those_of_ldirectord():
    service = one("virtual=10.0.0.1:80\n\treal=10.0.0.2 gate")
    assert (service.scheduler, service.quiescent, service.cleanstop) == ("wrr", False, True)
    (server,) = service.real_servers
    assert server.real == RealServer(IPv4Address("10.0.0.2"), 80, ForwardingMethod.GATE, 1)
    assert server.check == Check(
        CheckType.NEGOTIATE, IPv4Address("10.0.0.2"), 80, timeout_s=5, interval_s=10, service="http"
    )


def test_an_empty_file_is_valid_and_holds_nothing():
    assert read("").services == ()


# The line grammar.


@pytest.mark.parametrize("indentation", ["    ", "\t", "        ", " \t", "  \t  "])
def test_a_section_is_indented_by_four_blanks_or_a_tab(indentation):
    assert one(f"virtual=10.0.0.1:80\n{indentation}real=10.0.0.2:80 gate").real_servers


def test_three_blanks_end_the_section():
    error = refusal("virtual=10.0.0.1:80\n   real=10.0.0.2:80 gate")
    assert (error.line, error.message) == (2, "Unknown command    real=10.0.0.2:80 gate")
    assert "4 blanks" in error.hint


def test_comments_stand_anywhere_in_a_section_and_do_not_end_it():
    service = one(
        section("# one", real="10.0.0.2:80 gate 3   # three") + "\n# two\n    scheduler=rr"
    )
    assert service.scheduler == "rr"
    assert service.real_servers[0].real.weight == 3


def test_an_empty_line_ends_a_section():
    error = refusal(section() + "\n\n    scheduler=rr")
    assert (error.line, error.message) == (4, "Unknown command     scheduler=rr")


def test_four_blanks_end_a_section_and_five_are_an_unknown_command():
    assert one(section() + "\n    \nautoreload=yes")
    error = refusal(section() + "\n     \n    scheduler=rr")
    assert (error.line, error.message) == (3, 'Unknown command "     "')


def test_global_lines_may_follow_a_section_and_apply_to_all():
    assert one(section() + "\nquiescent=yes").quiescent


def test_a_comment_after_a_global_number_is_harmless_but_not_after_yes():
    assert read("checkinterval=7   # seconds").check_interval_s == 7
    error = refusal("autoreload=yes # always")
    assert error.message == "autoreload must be 'yes' or 'no'"


def test_blanks_around_the_equals_sign_mean_nothing():
    assert one("virtual = 10.0.0.1:80\n    real = 10.0.0.2:80 gate\n    scheduler  =  lc")


def test_a_carriage_return_is_part_of_the_value(tmp_path):
    file = tmp_path / "dos.cf"
    file.write_bytes(b"quiescent=no\r\n")
    with pytest.raises(ConfigError, match="quiescent must be 'yes' or 'no'"):
        load(file)


def test_the_last_of_a_repeated_directive_wins():
    assert one(section("scheduler=rr", "scheduler=lc")).scheduler == "lc"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lb.cf")
    for path in (tmp_path / "lb.cf", Path("/dev/null")):
        with pytest.raises(ConfigError, match=f"{path}: is no regular file; write it to one"):
            load(path)


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.cf: cannot be read: No such file"):
        load(tmp_path / "none.cf")


# Real servers.


def test_a_range_stands_for_each_of_its_addresses():
    service = one(section(real="10.0.0.2->10.0.0.4:8080 masq 3"))
    assert [str(server.real.key) for server in service.real_servers] == [
        "10.0.0.2:8080",
        "10.0.0.3:8080",
        "10.0.0.4:8080",
    ]
    assert {server.real.weight for server in service.real_servers} == {3}


def test_a_range_of_one_address_is_one_real_server():
    (server,) = one(section(real="10.0.0.2->10.0.0.2:80 masq")).real_servers
    assert str(server.real.key) == "10.0.0.2:80"


def test_names_of_hosts_and_ports_are_looked_up():
    service = one(section(real="web1.example.test:http masq", virtual="www.example.test:http"))
    assert str(service.key) == "tcp 10.5.9.9:80"
    assert str(service.real_servers[0].real.key) == "10.5.0.20:80"


def test_the_method_is_the_first_word_after_the_address():
    (server,) = one(section(real="10.0.0.2:80 - gate 3")).real_servers
    assert (server.real.method, server.real.weight) == (ForwardingMethod.GATE, 3)


def test_a_host_has_no_underscore_so_what_follows_one_is_taken():
    configuration = read(section(real="web_1:80 gate"))
    assert str(configuration.services[0].real_servers[0].real.key) == "0.0.0.1:80"
    assert configuration.warnings == ("lb.cf:2: 'web_' before 1:80 means nothing and is ignored",)


def test_the_address_is_the_first_thing_in_the_line_that_fits():
    service = one(section(real="192.168.6.2::5060 gate"))
    assert str(service.real_servers[0].real.address) == "0.0.19.196"


def test_what_stands_before_the_weight_is_dropped_with_a_warning():
    configuration = read(section(real="10.0.0.2:80 gate -w 7"))
    assert configuration.services[0].real_servers[0].real.weight == 7
    (warning,) = configuration.warnings
    assert warning.startswith("lb.cf:2: '-w' before the weight 7")


@pytest.mark.parametrize("method", ["gate", "ipip"])
def test_gate_and_ipip_hold_the_virtual_port_in_the_table_and_check_the_given_one(method):
    configuration = read(section(real=f"10.0.0.2:8080 {method}", virtual="10.0.0.1:80"))
    (server,) = configuration.services[0].real_servers
    assert (server.real.port, server.check.port) == (80, 8080)
    assert "cannot change the port" in configuration.warnings[0]


def test_masq_keeps_the_real_port():
    (server,) = one(section(real="10.0.0.2:8080 masq")).real_servers
    assert (server.real.port, server.check.port) == (8080, 8080)


def test_a_real_server_given_twice_counts_once_and_warns():
    configuration = read(section("real=10.0.0.2:80 gate 9"))
    (server,) = configuration.services[0].real_servers
    assert server.real.weight == 9
    assert "stands twice" in configuration.warnings[0]


@pytest.mark.parametrize(
    ("real", "request_", "receive"),
    [
        ('10.0.0.2:80 gate "a","b"', "/a", "b"),
        ('10.0.0.2:80 gate 1 "/a" "b"', "/a", "b"),
        ('10.0.0.2:80 gate 1 "a",   "b c"', "/a", "b c"),
        ('10.0.0.2:80 gate 1 "l:5" "u:10"', "/l:5", "u:10"),
        ("10.0.0.2:80 gate", "/all", "ALL"),
    ],
)
def test_request_and_receive_of_a_real_server_come_before_those_of_the_section(
    real, request_, receive
):
    (server,) = one(section('request="all"', 'receive="ALL"', real=real)).real_servers
    assert (server.check.request, server.check.receive) == (request_, receive)


@pytest.mark.parametrize(
    ("real", "upper", "lower"),
    [
        ("10.0.0.2:80 gate", 0, 0),
        ("10.0.0.2:80 gate l:5 u:10", 10, 5),
        ('10.0.0.2:80 gate 2 "a","b" l:5  u:10', 10, 5),
        ("10.0.0.2->10.0.0.3:80 masq 1 u:2147483647", 2**31 - 1, 0),
        ("10.0.0.2:80 gate 1 l:0 u:0", 0, 0),
    ],
)
def test_thresholds_of_a_real_server(real, upper, lower):
    configuration = read(section(real=real))
    for server in configuration.services[0].real_servers:
        assert (server.real.upper_threshold, server.real.lower_threshold) == (upper, lower)
    assert configuration.warnings == ()


def test_what_stands_before_a_threshold_is_dropped_but_not_silently():
    configuration = read(section(real="10.0.0.2:80 gate heavy u:9"))
    assert configuration.services[0].real_servers[0].real.upper_threshold == 9
    assert configuration.warnings == ("lb.cf:2: 'heavy' before u:9 means nothing and is ignored",)


@pytest.mark.parametrize(
    ("real", "message"),
    [
        ("10.0.0.2:80 nat", "forward method must be gate, masq or ipip"),
        ("10.0.0.2:80 GATE", "forward method must be gate, masq or ipip"),
        ("10.0.0.2:80", "invalid address for real server (wrong format)"),
        ("10.0.0.2:80 gate heavy", 'Invalid real server line, around " heavy"'),
        ("10.0.0.2:80 gate -1", 'Invalid real server line, around " -1"'),
        ('10.0.0.2:80 gate 1 "a" , "b"', 'Invalid real server line, around " "a" , "b""'),
        ("10.0.0.2:80 gate 65536", "weight 65536 is more than 65535"),
        ("10.0.0.2:80 gate l:5", "lower threshold l:5 is above the upper one, u:0"),
        ("10.0.0.2:80 gate 1 u:9 l:5", "lower threshold l:5 is above the upper one, u:0"),
        ("10.0.0.2:80 gate u:2147483648", "threshold u:2147483648 is more than 2147483647"),
        ('10.0.0.2:80 gate "a","b"u:9', 'Invalid real server line, around "u:9"'),
        ("10.0.0.2:80 gate u:9 heavy", 'Invalid real server line, around " heavy"'),
        (
            "[2001:db8::2]:80 masq",
            "invalid address ([2001:db8::2]) for real server (could not resolve host)",
        ),
        (
            "10.0.0.9->10.0.0.2:80 gate",
            INVALID_RANGE,
        ),
        (
            '10.0.0.2:80 gate 1 "a","(b"',
            "receive is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
    ],
)
def test_a_real_line_that_is_wrong_is_refused(real, message):
    error = refusal(section(real=real))
    assert (error.line, error.message) == (2, message)


# Checks.


def test_a_checktype_finds_its_check():
    def check(*lines: str) -> Check:
        return one(section(*lines)).real_servers[0].check

    assert check("checktype=connect", 'request="a"').type is CheckType.CONNECT
    assert check("checktype=on").type is CheckType.ON
    assert check("checktype=off").type is CheckType.OFF
    assert check("checktype=negotiate ", "service=none").probes == ()
    assert check("checktype=negotiate", "service=http").type is CheckType.NEGOTIATE
    assert check("service=https", "checktype=connect").type is CheckType.CONNECT


def seconds(check: Check) -> float:
    """The limit of its probes."""
    negotiates = check.type is CheckType.NEGOTIATE
    return check.negotiate_timeout_s if negotiates else check.timeout_s


def test_timeouts_fall_back_as_in_ldirectord():
    def timeout(check: str, *lines: str, globally: str = "") -> float:
        text = f"{globally}\n" + section(f"checktype={check}", *lines)
        return seconds(one(text).real_servers[0].check)

    assert timeout("connect") == 5
    assert timeout("negotiate") == 30
    assert timeout("connect", globally="negotiatetimeout=7") == 7
    assert timeout("negotiate", globally="checktimeout=7") == 7
    assert timeout("negotiate", "checktimeout=2", globally="negotiatetimeout=7") == 2
    assert timeout("connect", "negotiatetimeout=2", globally="checktimeout=7") == 2
    assert timeout("negotiate", "checktimeout=2", "negotiatetimeout=3") == 3
    assert timeout("connect", "checktimeout=2", "negotiatetimeout=3") == 2


def test_a_section_overrides_the_globals():
    service = one(
        "checkinterval=9\nfailurecount=2\nquiescent=yes\ncleanstop=no\nfork=yes\n"
        + section("checkinterval=4", "failurecount=3", "quiescent=no", "cleanstop=yes")
    )
    assert (service.quiescent, service.cleanstop) == (False, True)
    check = service.real_servers[0].check
    assert (check.interval_s, check.failure_count) == (4, 3)


def test_http_details_reach_the_check():
    check = (
        one(section('virtualhost="www.example.test"', "httpmethod=head", 'receive="[a-z]+"'))
        .real_servers[0]
        .check
    )
    assert (check.virtualhost, check.http_method, check.receive) == (
        "www.example.test",
        "HEAD",
        "[a-z]+",
    )
    assert one(section("virtualhost=a.test   ")).real_servers[0].check.virtualhost == "a.test"


def test_a_check_of_a_server_without_port_goes_to_the_port_of_the_service():
    configuration = read(section("service=http", real="10.0.0.2 gate", virtual="10.0.0.1:8080"))
    (server,) = configuration.services[0].real_servers
    assert (server.real.port, server.check.port) == (8080, 80)
    assert "checks go to port 80" in configuration.warnings[0]


# Fallback.


def test_the_fallback_is_the_sections_else_the_global_one():
    assert one("fallback=127.0.0.1:81 masq\n" + section()).fallback == RealServer(
        IPv4Address("127.0.0.1"), 81, ForwardingMethod.MASQ, 1
    )
    own = one("fallback=127.0.0.1:81 masq\n" + section("fallback=10.0.0.9")).fallback
    assert own == RealServer(IPv4Address("10.0.0.9"), 80, ForwardingMethod.GATE, 1)
    assert one(section("fallback=10.0.0.9:8080 gate")).fallback.port == 80


def test_a_fallback_port_by_name_has_the_protocol_of_the_service():
    udp = one(section("fallback=10.0.0.9:tftp masq", "protocol=udp", "service=none"))
    assert udp.fallback.port == 69
    error = refusal("fallback=10.0.0.9:tftp masq\n" + section())
    assert (error.line, error.message) == (1, "invalid port for fallback server")


def test_a_global_fallback_is_for_both_protocols_so_both_know_its_port():
    for name in ("tftp", "pop3"):
        error = refusal(f"fallback=10.0.0.9:{name}\n" + section())
        assert (error.line, error.message) == (1, "invalid port for fallback server")
    assert one(section("fallback=10.0.0.9:pop3 masq")).fallback.port == 110


def test_a_fallback_without_a_host_is_this_machine():
    assert one(section("fallback=:81 masq")).fallback.key == RealServerKey(
        IPv4Address("127.0.0.1"), 81
    )


# Options of a service.


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_of_ipvs_is_known(scheduler):
    assert one(section(f"scheduler={scheduler}")).scheduler == scheduler


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ([], ServiceOptions()),
        (["persistent=600"], ServiceOptions(persistent_s=600)),
        (["persistent = about 5 minutes", "persistent=300s"], ServiceOptions(persistent_s=300)),
        (
            ["netmask=255.255.255.0", "persistent=60"],
            ServiceOptions(persistent_s=60, netmask=IPv4Address("255.255.255.0")),
        ),
        (
            ["persistent=60", "netmask=255.255.255.000"],
            ServiceOptions(persistent_s=60, netmask=IPv4Address("255.255.255.0")),
        ),
        (["persistent=60", "netmask=255.255.255.255"], ServiceOptions(persistent_s=60)),
        (["protocol=udp", "ops=yes"], ServiceOptions(one_packet=True)),
        (["protocol=udp", "ops=no"], ServiceOptions()),
        (
            ["schedflags=sh-port,sh-fallback of sh", "scheduler=sh"],
            ServiceOptions(SchedulerFlag.PORT | SchedulerFlag.FALLBACK),
        ),
        (["schedflags=flag-3"], ServiceOptions(SchedulerFlag.FLAG_3)),
    ],
)
def test_options_of_a_service(lines, options):
    configuration = read(section(*lines, "service=none"))
    assert configuration.services[0].options == options
    assert configuration.warnings == ()


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("ops=yes", "lb.cf:3: ops=yes is for protocol=udp and is ignored"),
        (
            "netmask=255.255.255.0",
            "lb.cf:3: netmask means nothing without persistent and is ignored",
        ),
    ],
)
def test_an_option_without_effect_warns(line, warning):
    configuration = read(section(line))
    assert configuration.services[0].options == ServiceOptions()
    assert configuration.warnings == (warning,)


def test_a_persistent_service_may_have_every_port():
    service = one(
        section("persistent=60", "fallback=127.0.0.1", virtual="10.0.0.1:0", real="10.0.0.2 masq")
    )
    assert service.key == ServiceKey(Protocol.TCP, IPv4Address("10.0.0.1"), 0)
    assert [server.real.port for server in service.real_servers] == [0]
    assert service.real_servers[0].check.probes == ()
    assert service.fallback == RealServer(IPv4Address("127.0.0.1"), 0)


def test_a_real_server_of_every_port_loses_its_own_port_unless_masq():
    text = section("persistent=60", virtual="10.0.0.1:0", real="10.0.0.2:80 gate")
    configuration = read(text)
    assert configuration.services[0].real_servers[0].real.port == 0
    assert configuration.warnings == (
        "lb.cf:2: gate cannot change the port: the table holds 10.0.0.2:0 instead of 10.0.0.2:80",
    )
    assert one(text.replace("gate", "masq")).real_servers[0].real.port == 80


# Firewall marks.


@pytest.mark.parametrize(
    ("real", "port"), [("10.0.0.2 gate", 0), ("10.0.0.2:80 gate", 80), ("10.0.0.2:81 masq", 81)]
)
def test_a_service_by_mark(real, port):
    configuration = read(
        section("protocol=fwm", "scheduler=rr", "persistent=60", real=real, virtual="7")
    )
    (service,) = configuration.services
    assert service.key == ServiceKey.of_mark(7)
    assert service.options == ServiceOptions(persistent_s=60)
    assert [server.real.port for server in service.real_servers] == [port]
    assert service.real_servers[0].check.probes == ()  # a mark implies no service
    assert configuration.warnings == ()


def test_a_real_server_of_a_mark_is_checked_at_the_port_of_its_service():
    configuration = read(section("service=http", virtual="7", real="10.0.0.2 gate"))
    check = configuration.services[0].real_servers[0].check
    assert (check.port, check.type) == (80, CheckType.NEGOTIATE)
    assert configuration.warnings == ()


def test_a_connect_check_without_a_port_warns():
    configuration = read(section("checktype=connect", virtual="7", real="10.0.0.2 gate"))
    assert configuration.warnings == (
        "lb.cf:2: there is no port to connect to, so it counts as down: give checkport",
    )


@pytest.mark.parametrize(
    ("line", "port"),
    [("fallback=127.0.0.1:http gate", 80), ("fallback=127.0.0.1", 0), ("fallback=127.0.0.1:9", 9)],
)
@pytest.mark.parametrize("is_global", [True, False])
def test_the_fallback_server_of_a_mark(line, port, is_global):
    text = f"{line}\n{section(virtual='7')}" if is_global else section(line, virtual="7")
    if port == 80 and not is_global:  # a name has a number by protocol, and a mark has none
        assert refusal(text).message == "invalid port for fallback server"
    else:
        assert one(text).fallback == RealServer(IPv4Address("127.0.0.1"), port)


def test_the_protocol_of_a_mark_is_fwm():
    error = refusal(section("protocol=tcp", "nonsense=1", virtual="7"))
    assert (error.line, error.message) == (
        3,
        "protocol must be fwm if the virtual service is a fwmark (a number)",
    )


def test_an_address_without_a_port_is_a_mark_as_ever_but_not_silently():
    configuration = read(section(virtual="10.0.0.1"))
    assert configuration.services[0].key == ServiceKey.of_mark(10)
    (warning,) = configuration.warnings
    assert warning == (
        "lb.cf:1: 10.0.0.1 has no port, so it is no address but firewall mark 10, as in "
        "ldirectord: an address needs its port, as in virtual=192.0.2.1:80"
    )


# Refused by name.


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("schedular=rr", 'Unknown command "\tschedular=rr"', 'did you mean "scheduler"?'),
        ("autoreload=yes", 'Unknown command "\tautoreload=yes"', "'autoreload' is a global"),
        ("request=index.html", 'Unknown command "\trequest=index.html"', "quote the value"),
        ('request="a#b"', 'Unknown command "\trequest="a#b""', "a # begins a comment"),
        ("checkinterval=0", "invalid checkinterval", ""),
        ("checkcount=0", "invalid check count", ""),
        ("failurecount=few", "invalid failure count", ""),
        ("checkport=http", "invalid port", ""),
        ("persistent=long", "invalid persistent timeout", ""),
        ("persistent=0", "invalid persistent timeout", "give 1 to 2678400 seconds"),
        ("persistent=2678401", "invalid persistent timeout", "give 1 to 2678400 seconds"),
        ("netmask=24", "invalid netmask: dotted quad notation is required", ""),
        ("netmask=255.255.255.0 ", "invalid netmask: dotted quad notation is required", ""),
        ("netmask=255.255.255.256", "invalid netmask: dotted quad notation is required", ""),
        ("ops=maybe", "ops must be 'yes' or 'no'", ""),
        ("schedflags=", "invalid sched-flags", ""),
        ("schedflags=sh-prot", 'unknown scheduler flag "sh-prot"', 'did you mean "sh-port"?'),
        ("schedflags=sh-port", "scheduler flag sh-port is for scheduler=sh, not for wrr", ""),
        ("protocol=fwm", "protocol must be tcp or udp if the virtual service is an address", ""),
        ("protocol=", "invalid protocol", ""),
        ("scheduler=wrl", 'unknown scheduler "wrl"', 'did you mean "wrr"?'),
        ("service=htpp", "service must be dns, ftp, http", 'did you mean "http"?'),
        ("real6=[::1]:80 masq", 'cannot specify "real6" here.  please use "real" instead', ""),
        ("connecttimeout=3", "connecttimeout directive deprecated in favour of", ""),
        ("timeout=3", 'Unknown command "\ttimeout=3"', ""),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line, message, hint):
    error = refusal(section(line))
    assert error.line == 3
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (section(virtual="0"), 1, "firewall mark 0 is not in 1..4294967295"),
        (section(virtual="4294967296"), 1, "firewall mark 4294967296 is not in 1..4294967295"),
        (section(virtual="10.0.0.1:0"), 1, "port 0 (all ports) needs persistence"),
        (section(virtual="7") + "\n" + section(virtual="7") + "\n\n", 5, "duplicate virtual"),
        (section(virtual=""), 1, "invalid address for virtual server"),
        (section(virtual="[2001:db8::1]:80"), 1, "cannot specify an IPv6 address here."),
        (section(virtual="10.0.0.1:ircd"), 1, "invalid address for virtual service"),
        (section(virtual="10.0.0.1:70000"), 1, "invalid address for virtual service"),
        (section(virtual="10.0.0.999:80"), 1, "invalid address for virtual service"),
        (section() + "\n" + section() + "\n\n", 5, "duplicate virtual server"),
        ("timeout=3", 1, "timeout directive deprecated in favour of checktimeout and negotiate"),
        ("\ufeffautoreload=yes", 1, "Unknown command \ufeffautoreload=yes"),
        ("scheduler=rr", 1, "Unknown command scheduler=rr"),
        ("quiesent=yes", 1, "Unknown command quiesent=yes"),
        ("supervise", 1, "Unknown command supervise"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(text, line, message):
    error = refusal(text)
    assert error.line == line
    assert error.message.startswith(message)
