"""ldirectord's sentences, as Debian's 1.186-ha was heard to say them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from happenings import (
    FALLBACK,
    MARK,
    ONE,
    TWO,
    WEB,
    changed,
    configuration,
    configured,
    real,
    state,
    table,
)
from onevip.daemon import ldirectord_words as words
from onevip.daemon.real_id import real_id
from onevip.health import Verdict
from onevip.model import (
    AddRealServer,
    AddService,
    CheckType,
    ConfiguredRealServer,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Phase,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
)

CONF = configuration()
UP, DOWN = state(Verdict.UP), state(Verdict.DOWN)
ZERO = replace(ONE, weight=0)

IT = "10.0.0.1:80 (192.0.2.1:80)"
FALLING = "127.0.0.1:80 (192.0.2.1:80)"
SAID = [
    (AddRealServer(WEB, ONE), UP, f"Added real server: {IT} (Weight set to 2)"),
    (EditRealServer(WEB, ONE), UP, f"Restored real server: {IT} (Weight set to 2)"),
    (EditRealServer(WEB, ZERO), DOWN, f"Quiescent real server: {IT} (Weight set to 0)"),
    (AddRealServer(WEB, ZERO), DOWN, f"Quiescent real server: {IT} (Weight set to 0)"),
    (DeleteRealServer(WEB, ONE.key), DOWN, f"Deleted real server: {IT}"),
    (
        DeleteRealServer(WEB, real(9).key),
        None,
        "Purged real server (start): 10.0.0.9:80 (192.0.2.1:80)",
    ),
    (AddRealServer(WEB, FALLBACK), None, f"Added fallback server: {FALLING} (Weight set to 1)"),
    (EditRealServer(WEB, FALLBACK), None, f"Restored fallback server: {FALLING} (Weight set to 1)"),
    (DeleteRealServer(WEB, FALLBACK.key), None, f"Deleted fallback server: {FALLING}"),
    (AddService(MARK, "wrr"), None, "Added virtual server: 7"),
    (EditService(WEB, "wrr"), None, "Changed virtual server: 192.0.2.1:80"),
    (DeleteService(WEB), None, "Purged virtual server (start): 192.0.2.1:80"),
]


@pytest.mark.parametrize(("change", "verdict", "sentence"), SAID)
def test_each_change_has_its_sentence(change, verdict, sentence):
    assert words.sentences(changed(change, table(), CONF, verdict=verdict)) == (sentence,)


def test_virtual_servers_are_not_mailed_of():
    for change, verdict, sentence in SAID:
        mailed = () if "virtual" in sentence else (sentence,)
        assert words.subjects(changed(change, table(), CONF, verdict=verdict)) == mailed


def test_with_readdquiescent_the_log_says_so_and_the_mail_does_not():
    conf = configuration(readd_quiescent=True)
    event = changed(AddRealServer(WEB, ZERO), table(), conf, verdict=DOWN)
    assert words.sentences(event)[0].startswith("Readd Quiescent real server: ")
    assert words.subjects(event)[0].startswith("Quiescent real server: ")
    fallback = changed(AddRealServer(WEB, FALLBACK), table(), conf)
    assert words.sentences(fallback)[0].startswith("Added fallback")


@pytest.mark.parametrize("verdict", [UP, None])
def test_a_weight_of_0_in_the_file_is_no_quiescence(verdict):
    conf = configuration(configured(WEB, ZERO))
    event = changed(AddRealServer(WEB, ZERO), table(), conf, verdict=verdict)
    assert words.sentences(event) == (
        "Added real server: 10.0.0.1:80 (192.0.2.1:80) (Weight set to 0)",
    )


def test_at_the_end_those_that_are_up_leave_with_their_service():
    before = table(ONE, replace(TWO, weight=0), FALLBACK)
    event = changed(DeleteService(WEB), before, CONF, phase=Phase.STOPPING)
    purged = "Purged real server (stop): 10.0.0.1:80 (192.0.2.1:80)"
    assert words.sentences(event) == (purged, "Purged virtual server (stop): 192.0.2.1:80")
    assert words.subjects(event) == (purged,)


def test_ipv6_stands_in_brackets():
    key = ServiceKey(Protocol.TCP, ip_address("2001:db8::1"), 80)
    assert words.virtual(key) == "[2001:db8::1]:80"
    assert (
        words.place(key, RealServerKey(ip_address("::1"), 8013)) == "[::1]:8013 ([2001:db8::1]:80)"
    )


def server(check_type: CheckType = CheckType.NEGOTIATE, **fields: object) -> ConfiguredRealServer:
    row = RealServer(ip_address("127.0.0.11"), 8011, ForwardingMethod.MASQ, 2)
    (one,) = configured(WEB, row).real_servers
    return replace(one, check=replace(one.check, type=check_type, **fields))


REAL_IDS = [
    (
        WEB,
        server(request="/a", receive=r"b:c|x\d"),
        r"negotiate:http:tcp:127.0.0.11:8011:::2:masq:\/a:b\:c\|x\\d",
    ),
    (
        WEB,
        server(virtualhost="www.example.org", port=81),
        r"negotiate:http:tcp:127.0.0.11:8011:www.example.org:81:2:masq:\/:",
    ),
    (WEB, server(CheckType.PING, port=0), r"ping:tcp:127.0.0.11:8011:::2:masq:\/:"),
    (MARK, server(CheckType.CONNECT), r"connect:fwm:127.0.0.11:8011:::2:masq:\/:"),
    (
        WEB,
        server(CheckType.EXTERNAL, command="/bin/x"),
        r"external:/bin/x:tcp:127.0.0.11:8011:::2:masq:\/:",
    ),
]


@pytest.mark.parametrize(("service", "one", "name"), REAL_IDS)
def test_the_id_of_a_check(service, one, name):
    assert real_id(configured(service), one) == name
