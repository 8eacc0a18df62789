"""Every probe against real servers: healthy, wrong, refused, black-holed, hanging."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from certificates import Certificates, make_certificates
from netns import real_servers
from netns.clusters import prefix
from netns.real_servers import RealServers
from onevip.lab.namespace import Namespace

PROBING = Path(__file__).with_name("probed_inside.py")
FOUR, SIX = "10.77.0.2", "fd77::2"
#: Nobody is there, but the director thinks that it knows the way.
BLACK_HOLE = "10.77.0.9"
LIMIT_S = 20.0
Network = tuple[Namespace, RealServers, Certificates]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A director and a machine with all servers, joined by a cable."""
    name = prefix()
    director, host = Namespace(f"{name}director"), Namespace(f"{name}servers")
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    try:
        director.create()
        host.create()
        director.ip(
            "link set lo up",
            f"link add c0 type veth peer name c1 netns {host.name}",
            "link set c0 up",
            "addr add 10.77.0.1/24 dev c0",
            "addr add fd77::1/64 dev c0 nodad",
            f"neigh add {BLACK_HOLE} lladdr 02:00:00:00:00:99 dev c0",
        )
        host.ip(
            "link set lo up",
            "link set c1 up",
            f"addr add {FOUR}/24 dev c1",
            f"addr add {SIX}/64 dev c1 nodad",
        )
        with TemporaryDirectory(prefix="onevip-servers-") as directory:
            Path(directory).chmod(0o755)  # some of them give up root's rights
            servers = real_servers.start(host, Path(directory), certificates)
            try:
                yield director, servers, certificates
            finally:
                servers.stop()
    finally:
        for each in (director, host):
            each.remove()


def probed(network: Network, checks: list[dict[str, object]]) -> list[tuple[bool, str, float]]:
    director, _, certificates = network
    ca = str(certificates.pem("ca"))
    texts = [{"address": FOUR, "limit_s": LIMIT_S, "ca_file": ca, **each} for each in checks]
    text = director.run(sys.executable, str(PROBING), given=json.dumps(texts), timeout_s=60)
    return [(healthy, reason, seconds) for healthy, reason, seconds in json.loads(text)]


OKAY = {"receive": "OKAY"}
HTTP = {"service": "http", "port": 80, **OKAY}
HTTPS = {"service": "https", "port": 443, **OKAY}
PROXY = {"service": "http_proxy", "port": 3128, "request": f"/http://{FOUR}/", **OKAY}
SMTP = {"service": "smtp", "port": 25}
DNS = {"service": "dns", "port": 53, "protocol": "UDP", "request": "/www.example.test"}
DNS_TCP = {**DNS, "protocol": "TCP"}
SIMPLETCP = {
    "service": "simpletcp",
    "port": 80,
    "receive": "^HTTP/1.1 200",
    "request": "/GET / HTTP/1.0\\n\\n",
}
SERVICES = (HTTP, HTTPS, PROXY, SMTP, DNS, DNS_TCP, SIMPLETCP)

HEALTHY = [
    (HTTP, "status 200, body matches"),
    ({**HTTP, "address": SIX}, "status 200, body matches"),
    ({**HTTP, "http_method": "HEAD", "receive": ""}, "status 200"),
    ({**HTTP, "port": 1, "request": f"http://{FOUR}/x"}, "status 200, body matches"),
    (HTTPS, "status 200, body matches"),
    ({**HTTPS, "address": SIX}, "status 200, body matches"),
    ({**HTTPS, "verify": "name", "virtualhost": "www.example.test"}, "status 200, body matches"),
    ({**HTTPS, "port": 444, "virtualhost": "www.example.test"}, "status 200, body matches"),
    ({**HTTPS, "port": 445, "verify": "none"}, "status 200, body matches"),
    (PROXY, "status 200, body matches"),
    (SMTP, "EHLO answered"),
    ({**SMTP, "address": SIX}, "EHLO answered"),
    (DNS, "answered 192.0.2.1"),
    ({**DNS, "address": SIX, "receive": "^192"}, "answered 192.0.2.1"),
    (DNS_TCP, "answered 192.0.2.1"),
    ({**DNS, "request": "/192.0.2.1", "receive": r"^www\."}, "answered www.example.test"),
    ({**DNS, "request": "/six.example.test"}, "answered 2001:db8::6"),
    ({**DNS, "request": "/alias.example.test", "receive": "^www"}, "answered www.example.test"),
    ({**DNS, "request": "/many.example.test", "receive": "100$"}, "answered 198.51.100.100"),
    (SIMPLETCP, "line 1 matches"),
]
WRONG = [
    ({**HTTP, "receive": "NEVER"}, "body does not match /NEVER/"),
    ({**HTTP, "request": "/busy"}, "status 503"),
    ({**HTTP, "request": "/moved"}, "status 302: redirected to http://10.77.0.2/, which is not"),
    ({**HTTP, "port": 443}, "status 400"),
    ({**HTTP, "port": 25}, "not a good HTTP answer: |the server closed the connection"),
    ({**HTTPS, "port": 80}, "the server does not speak TLS on this port"),
    ({**HTTPS, "port": 444}, "the server has no such virtualhost"),
    ({**HTTPS, "port": 445}, "certificate verify failed: self-signed certificate"),
    (
        {**HTTPS, "verify": "name", "virtualhost": "x.test"},
        "certificate verify failed: Hostname mismatch",
    ),
    ({**PROXY, "request": f"/http://{FOUR}/busy"}, "status 503"),
    ({**PROXY, "request": f"/http://{FOUR}:1/"}, "status 503"),
    ({**SMTP, "port": 587}, 'the server greets with "550 submission is closed today"'),
    ({**SMTP, "port": 80, "limit_s": 0.5}, "timed out after 0.5 s"),
    ({**DNS, "receive": "192.0.2.7"}, "no answer matches /192.0.2.7/: 192.0.2.1, 2001:db8::1"),
    ({**DNS, "request": "/no.example.test"}, "NXDOMAIN"),
    ({**DNS, "request": "/other.test"}, "REFUSED"),
    ({**DNS, "request": "/text.example.test"}, "the answer holds no record that was asked for"),
    ({**SIMPLETCP, "receive": "^HTTP/1.1 500"}, "none of .* lines matches"),
]


@pytest.fixture(scope="module")
def found(network: Network) -> dict[str, tuple[bool, str, float]]:
    """All at once, so that none delays the others."""
    checks = [check for check, _ in (*HEALTHY, *WRONG)]
    results = probed(network, checks)
    return {repr(check): result for check, result in zip(checks, results, strict=True)}


def named(case: object) -> str | None:
    return f"{case['service']}-{case['port']}" if isinstance(case, dict) else ""


@pytest.mark.parametrize(("check", "reason"), HEALTHY, ids=named)
def test_a_healthy_server_is_up(check, reason, found):
    assert found[repr(check)][:2] == (True, reason)


@pytest.mark.parametrize(("check", "reason"), WRONG, ids=named)
def test_a_wrong_answer_is_down(check, reason, found):
    healthy, words, _ = found[repr(check)]
    assert not healthy
    assert re.match(reason, words), words


def test_a_port_where_nobody_listens_refuses(network):
    checks = [{**check, "port": 9} for check in SERVICES]
    assert [result[:2] for result in probed(network, checks)] == [
        (False, "connection refused")
    ] * len(SERVICES)


def test_a_black_hole_is_left_in_time(network):
    checks = [{**check, "address": BLACK_HOLE, "limit_s": 0.5} for check in SERVICES]
    assert [result[:2] for result in probed(network, checks)] == [
        (False, "timed out after 0.5 s")
    ] * len(SERVICES)


def test_a_server_that_hangs_is_left_in_time(network):
    with network[1].hanging():
        checks = [{**check, "limit_s": 0.5} for check in SERVICES]
        assert [result[:2] for result in probed(network, checks)] == [
            (False, "timed out after 0.5 s")
        ] * len(SERVICES)
    assert probed(network, [HTTP])[0][:2] == (True, "status 200, body matches")
