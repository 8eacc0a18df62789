"""What a section's checks are made of: types, services, logins, limits, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onevip.config import World, parse
from onevip.model import (
    Check,
    CheckPath,
    CheckType,
    ConfigError,
    Configuration,
    ForwardingMethod,
    Protocol,
    Secret,
    ServiceKey,
    Tls,
    Verify,
)

WORLD = World(own_name=lambda: "lb1", why_not_appendable=lambda _: "")


def read(text: str) -> Configuration:
    return parse(text, "lb.cf", WORLD)


def section(*lines: str, virtual: str = "10.0.0.1:80", real: str = "10.0.0.2:80 gate") -> str:
    return "\n".join([f"virtual={virtual}", f"\treal={real}", *(f"\t{line}" for line in lines)])


def check(*lines: str, globally: str = "", **of: str) -> Check:
    configuration = read(f"{globally}\n{section(*lines, **of)}")
    return configuration.services[0].real_servers[0].check


def different(one: Check, other: Check) -> set[str]:
    return {name for name in Check.__slots__ if getattr(one, name) != getattr(other, name)}


EVERYTHING = (
    'request="a"', 'receive="b"', "virtualhost=www", 'login="me"', 'passwd="word"', 'database="d"',
    'secret="s"', "httpmethod=HEAD", "tlsverify=name", 'tlscafile="/ca.pem"', "checkcommand=/bin/x",
    "checkcount=4",
)  # fmt: skip


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        ("http", {"request", "receive", "virtualhost", "http_method"}),
        ("http_proxy", {"request", "receive", "virtualhost", "http_method"}),
        ("https", {"request", "receive", "virtualhost", "http_method", "tls"}),
        ("dns", {"request", "receive"}),
        ("simpletcp", {"request", "receive"}),
        ("ftp", {"request", "receive", "login", "passwd"}),
        ("smtp", set()),
        ("submission", set()),
        ("nntp", set()),
        ("pop", {"login", "passwd"}),
        ("imap", {"login", "passwd"}),
        ("pops", {"login", "passwd", "tls", "virtualhost"}),
        ("imaps", {"login", "passwd", "tls", "virtualhost"}),
        ("ldap", {"request", "receive", "login", "passwd"}),
        ("ldaps", {"request", "receive", "login", "passwd", "tls", "virtualhost"}),
        ("radius", {"login", "passwd", "secret"}),
        ("sip", {"login"}),
        ("mysql", {"request", "login", "passwd", "database"}),
        ("pgsql", {"request", "login", "passwd", "database"}),
        ("oracle", {"request", "login", "passwd", "database"}),
        ("none", set()),
    ],
)
def test_a_conversation_knows_what_its_protocol_needs_and_no_more(service, fields):
    plain = Check(
        CheckType.NEGOTIATE,
        check().address,
        80,
        timeout_s=5,
        interval_s=10,
        service=service,
    )
    found = check(*EVERYTHING, f"service={service}")
    assert different(plain, found) == fields
    combined = check(*EVERYTHING, f"service={service}", "checktype=7")
    assert different(found, combined) == {"type", "connects"}
    assert (combined.type, combined.connects) == (CheckType.COMBINED, 7)


@pytest.mark.parametrize(
    ("checktype", "fields"),
    [
        ("connect", {"type", "service"}),
        ("on", {"type", "service"}),
        ("off", {"type", "service"}),
        ("ping", {"type", "service", "port", "ping_count"}),
        ("external", {"type", "service", "command", "arguments"}),
        ("external-perl", {"type", "service", "command", "arguments"}),
    ],
)
def test_any_other_check_knows_nothing_of_a_conversation(checktype, fields):
    plain = check("service=none")
    assert different(plain, check(*EVERYTHING, f"checktype={checktype}")) == fields


def test_a_connect_by_udp_is_a_ping_as_in_ldirectord():
    found = check("checktype=connect", "protocol=udp")
    assert (found.type, found.port, found.protocol) == (CheckType.PING, 0, Protocol.TCP)


def test_what_carries_a_conversation_is_the_protocol_of_the_service():
    assert check(virtual="10.0.0.1:53").protocol is Protocol.UDP
    assert check("protocol=tcp", virtual="10.0.0.1:53").protocol is Protocol.TCP
    assert check("service=sip", "protocol=udp").protocol is Protocol.UDP


def test_an_external_check_is_told_of_service_and_server():
    def arguments(**of: str) -> tuple[str, ...]:
        return check("checktype=external", **of).arguments

    assert arguments() == ("10.0.0.1", "80", "10.0.0.2", "80")
    assert arguments(real="10.0.0.2 masq") == ("10.0.0.1", "80", "10.0.0.2", "0")
    assert arguments(virtual="7", real="10.0.0.2:81 masq") == ("7", "0", "10.0.0.2", "81")
    text = "virtual6=[2001:db8::1]:80\n    real6=[2001:db8::2]:80 masq\n    checktype=external"
    (server,) = read(text).services[0].real_servers
    assert server.check.arguments == ("[2001:db8::1]", "80", "[2001:db8::2]", "80")
    assert server.check.command == "/bin/true"
    assert check("checktype=external", 'checkcommand="/bin/x y"').command == "/bin/x y"


def test_logins_have_defaults_only_where_the_service_is_named():
    assert check(virtual="10.0.0.1:21").login == ""
    ftp = check("service=ftp", virtual="10.0.0.1:21")
    assert (ftp.login, ftp.passwd) == ("anonymous", Secret("ldirectord@lb1"))
    own = check('login="me"', "service=ftp", 'passwd="word"')
    assert (own.login, own.passwd) == ("me", Secret("word"))
    assert check(virtual="10.0.0.1:5060").login == ""
    assert check("service=sip").login == "ldirectord@lb1"


def test_the_interval_of_a_section_counts_only_with_fork():
    own = section("checkinterval=3")
    configuration = read(f"checkinterval=7\n{own}")
    assert configuration.services[0].real_servers[0].check.interval_s == 7
    assert configuration.warnings == (
        "lb.cf:4: checkinterval in virtual service tcp:10.0.0.1:80 ignored when fork=no",
    )
    configuration = read(f"checkinterval=7\n{own}\nfork=yes")
    assert configuration.services[0].real_servers[0].check.interval_s == 3
    assert configuration.warnings == ()
    assert configuration.check_interval_s == 7


def test_counts_and_jitter_are_the_sections_else_the_global_ones():
    globally = "failurecount=2\nrisecount=3\ncheckjitter=20\ntlsverify=none\ncheckcount=5"
    found = check("checktype=ping", globally=globally)
    assert (found.failure_count, found.rise_count, found.jitter, found.ping_count) == (2, 3, 20, 5)
    own = check(
        "failurecount=4", "risecount=1", "checkjitter=0", "tlsverify=chain", "service=https",
        globally=globally,
    )  # fmt: skip
    assert (own.failure_count, own.rise_count, own.jitter, own.tls) == (4, 1, 0, Tls())
    tls = check("service=https", 'tlscafile="/ca.pem"', globally=globally).tls
    assert tls == Tls(Verify.NONE, "/ca.pem")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("risecount=0", "invalid rise count"),
        ("checkjitter=101", "checkjitter must be in range 0..100"),
        ("checkjitter=some", "checkjitter must be in range 0..100"),
        ("checkpath=via", "checkpath must be 'rip' or 'vip'"),
        ("tlsverify=yes", "tlsverify must be 'none', 'chain' or 'name'"),
        ('tlscafile=""', "no CA file specified"),
    ],
)
@pytest.mark.parametrize("is_global", [True, False])
def test_a_new_directive_that_is_wrong_is_refused(line, message, is_global):
    with pytest.raises(ConfigError) as caught:
        read(f"{line}\n{section()}" if is_global else section(line))
    assert caught.value.message == message


def test_the_path_of_a_check_is_that_of_clients_where_there_is_one():
    found = check("checkpath=vip", real="10.0.0.2:8080 ipip")
    key = ServiceKey(Protocol.TCP, check(virtual="10.0.0.1:80", real="10.0.0.1 gate").address, 80)
    (server,) = read(section(real="10.0.0.2:8080 ipip")).services[0].real_servers
    assert found.path == CheckPath(key, server.real.key, ForwardingMethod.IPIP)
    assert check("checktype=connect", globally="checkpath=vip").path is not None
    assert check("checkpath=rip", globally="checkpath=vip").path is None
    assert check("checkpath=vip", real="10.0.0.2:80 masq").path is None  # every check goes so
    assert check("checkpath=vip", "checktype=on").path is None
    assert check("checkpath=vip", "checktype=ping").path is not None


def test_by_way_of_the_vip_the_port_is_the_vips_unless_checkport_says_another():
    assert check("checkpath=vip", real="10.0.0.2:8080 gate").port == 80
    assert check("checkpath=vip", "checkport=8081", real="10.0.0.2:8080 gate").port == 8081
    assert check("checkpath=vip", real="10.0.0.2:8080 masq").port == 8080


@pytest.mark.parametrize(
    ("lines", "virtual", "warning"),
    [
        (
            ["checktype=external"],
            "10.0.0.1:80",
            "checkpath=vip is not for checktype=external of tcp:10.0.0.1:80",
        ),
        ([], "7", "checkpath=vip: fwm:7 has no VIP, checks go to the real server"),
    ],
)
def test_a_check_without_such_a_path_goes_to_the_real_server_and_warns(lines, virtual, warning):
    configuration = read(section("checkpath=vip", *lines, virtual=virtual))
    assert configuration.services[0].real_servers[0].check.path is None
    assert configuration.warnings[0].startswith(f"lb.cf:3: {warning}")


def test_a_request_of_one_server_may_be_a_whole_url():
    url = check("service=http", real='10.0.0.2:80 gate 1 "http://a.test/x","y"').request
    assert url == "http://a.test/x"
    path = check("service=http", 'request="http://a.test/x"').request
    assert path == "/http://a.test/x"
    other = check("service=https", real='10.0.0.2:80 gate 1 "http://a.test/x","y"').request
    assert other == "/http://a.test/x"


def test_an_empty_answer_of_one_server_is_its_own():
    found = check('request="all"', 'receive="all"', real='10.0.0.2:80 gate 1 "one",""')
    assert (found.request, found.receive) == ("/one", "")


def test_equal_checks_of_two_services_are_one_check():
    one = check("checktype=connect", 'request="a"', "virtualhost=a", real="10.0.0.2:80 gate 1")
    other = check(
        "checktype=connect", 'request="b"', "virtualhost=b", "scheduler=rr",
        virtual="10.0.0.9:80", real="10.0.0.2:80 masq 2",
    )  # fmt: skip
    assert one == other
    assert check("service=http") != replace(check("service=http"), service="https")


def test_a_perl_pattern_reaches_the_probe_in_pythons_syntax():
    assert check(r'receive="\Aok\z"').receive == r"\Aok\Z"
