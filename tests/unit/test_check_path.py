"""checkpath=vip from the configuration to the probe's words; without any packet."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from onevip.config import load
from onevip.daemon import run
from onevip.daemon.check_paths import CheckPaths, why_not
from onevip.daemon.events import Event, NotReloaded, Reloaded, Started
from onevip.engines.bpf import check_paths, shapes
from onevip.engines.memory import MemoryEngine
from onevip.health.prober import attempt
from onevip.health.tools import Tools
from onevip.model import (
    Check,
    CheckPath,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    DataplaneError,
    ForwardingMethod,
    Outcome,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
)

VIP = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 80)
REAL = RealServerKey(IPv4Address("10.20.0.11"), 80)
BY_GATE = CheckPath(VIP, REAL, ForwardingMethod.GATE)
BY_TUNNEL = CheckPath(VIP, REAL, ForwardingMethod.IPIP)
MARK = 0x6F70_0001


def check(path: CheckPath | None = BY_GATE, kind: CheckType = CheckType.CONNECT) -> Check:
    return Check(kind, IPv4Address("10.20.0.11"), 80, 3, 1, path=path)


async def nothing_is_found(pattern: str, text: bytes) -> bool:
    return False


def tried(answers: Mapping[int, Outcome | None], path: CheckPath = BY_GATE) -> Outcome:
    """What an attempt makes of a server that answers so, by the mark of its packets."""

    async def probe(probed: Check, tools: Tools) -> Outcome:
        outcome = answers[tools.mark_of(probed)]
        if outcome is None:
            await asyncio.sleep(60)
        assert outcome is not None
        return outcome

    tools = Tools(nothing_is_found, lambda probed: MARK if probed.path else 0)
    asked = replace(check(path), timeout_s=0.05)
    attempted = attempt(asked, "connect", {"connect": probe}, tools)
    return asyncio.run(asyncio.wait_for(attempted, 10))


GOOD, BAD = Outcome(True, "connected"), Outcome(False, "connection refused")


def test_a_good_answer_by_way_of_the_vip_needs_no_other():
    assert tried({MARK: GOOD}) == GOOD


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (BY_GATE, "is 10.20.0.100 on its lo?"),
        (BY_TUNNEL, "does it take packets out of the tunnel, and is 10.20.0.100 on its lo?"),
    ],
)
def test_the_reason_tells_when_only_the_way_by_the_vip_fails(path, hint):
    assert tried({MARK: BAD, 0: GOOD}, path) == Outcome(
        False,
        f"answers at its own address, but not at 10.20.0.100: connection refused; {hint}",
    )


def test_a_black_hole_by_way_of_the_vip_is_a_time_out():
    told = tried({MARK: None, 0: GOOD})
    assert told.reason.startswith(
        "answers at its own address, but not at 10.20.0.100: timed out after 0.05 s; "
    )


@pytest.mark.parametrize("own", [BAD, None], ids=["refused", "black hole"])
def test_a_dead_server_is_dead_by_whatever_way(own):
    assert tried({MARK: BAD, 0: own}) == Outcome(
        False, "connection refused (by way of 10.20.0.100)"
    )


class LeadingEngine(MemoryEngine):
    """Leads IPv4 by gate and ipip, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[set[CheckPath]] = []

    def check_paths(self, paths: Iterable[CheckPath]) -> Mapping[CheckPath, int]:
        wanted = set(paths)
        self.asked.append(wanted)
        if self.refusal:
            raise self.refusal
        able = (path for path in wanted if path.method is not ForwardingMethod.MASQ)
        return {path: MARK + at for at, path in enumerate(able)}


def configured(*checks: Check) -> Configuration:
    servers = tuple(
        ConfiguredRealServer(RealServer(IPv4Address(f"10.20.0.{11 + at}"), 80), one, line=at + 7)
        for at, one in enumerate(checks)
    )
    return Configuration("lb.cf", (ConfiguredService(VIP, "wrr", servers),))


def test_checks_get_the_marks_of_their_paths(caplog):
    engine = LeadingEngine()
    paths = CheckPaths(engine)
    paths.use(configured(check(), check(None)))
    assert engine.asked == [{BY_GATE}]
    assert paths.mark_of(check()) == MARK
    assert paths.mark_of(check(None)) == 0
    paths.end()
    assert engine.asked[-1] == set()
    assert paths.mark_of(check()) == 0
    assert not caplog.messages


def test_what_cannot_go_by_way_of_the_vip_is_said_with_its_line(caplog):
    said = "is not checked by way of the VIP:"
    masq = replace(BY_GATE, method=ForwardingMethod.MASQ)
    paths = CheckPaths(LeadingEngine())
    paths.use(configured(check(), check(masq), check(BY_TUNNEL, CheckType.EXTERNAL)))
    assert caplog.messages == [
        f"lb.cf:8: 10.20.0.12:80 {said} masq leads to its own address, as every check does",
        f"lb.cf:9: 10.20.0.13:80 {said} an external program has sockets of its own",
    ]
    assert paths.mark_of(check(masq)) == 0


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (replace(BY_GATE, service=ServiceKey.of_mark(7)), "by firewall mark has no VIP"),
        (
            replace(BY_GATE, service=ServiceKey(Protocol.TCP, IPv6Address("::1"), 80)),
            "IPv6 packets",
        ),
        (replace(BY_GATE, real=RealServerKey(IPv6Address("2001:db8::1"), 80)), "IPv6 packets"),
        (BY_GATE, "it is this machine itself"),
    ],
)
def test_each_hindrance_has_its_words(path, why):
    assert why in why_not(check(path))


def test_a_refusal_of_the_kernel_ends_nothing(caplog):
    engine = LeadingEngine()
    engine.refusal = DataplaneError("checks by way of the VIP", "no memory")
    paths = CheckPaths(engine)
    paths.use(configured(check()))
    assert caplog.messages == [
        "no check goes by way of the VIP: checks by way of the VIP: no memory"
    ]
    assert paths.mark_of(check()) == 0


def test_whatever_else_fails_below_ends_nothing_either(caplog):
    engine = LeadingEngine()
    engine.refusal = OSError(errno.EROFS, "planted")
    paths = CheckPaths(engine)
    paths.use(configured(check()))
    paths.end()
    assert caplog.messages == ["no check goes by way of the VIP"] * 2
    assert paths.mark_of(check()) == 0


def test_an_engine_that_leads_no_probes_says_so(caplog):
    paths = CheckPaths(MemoryEngine())
    paths.use(configured(check(None)))
    assert not caplog.messages
    paths.use(configured(check()))
    assert caplog.messages == ["no check goes by way of the VIP: this engine leads none there"]
    assert paths.mark_of(check()) == 0


CF = """\
virtual=10.20.0.100:80
    real=10.20.0.11:80 gate 2
    checktype=on
"""


def load_by_vip(file: str) -> Configuration:
    configuration = load(file)
    (service,) = configuration.services
    servers = tuple(
        replace(one, check=replace(one.check, path=CheckPath(service.key, one.real.key, method)))
        for one in service.real_servers
        for method in [one.real.method]
    )
    return replace(configuration, services=(replace(service, real_servers=servers),))


class Reloading:
    """Changes the file once the daemon has started, and ends the daemon once it has reloaded."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.heard_of: list[type] = []

    def heard(self, event: Event) -> None:
        self.heard_of.append(type(event))
        if isinstance(event, Started):
            self._file.write_text(CF.replace(" gate ", " ipip "))
            os.kill(os.getpid(), signal.SIGHUP)
        elif isinstance(event, Reloaded | NotReloaded):
            os.kill(os.getpid(), signal.SIGTERM)

    async def close(self) -> None:
        pass


def test_the_daemon_makes_ready_the_ways_of_each_configuration(tmp_path):
    """Before the table, again when the file has changed, and none at its end."""
    engine = LeadingEngine()
    file = tmp_path / "lb.cf"
    file.write_text(CF)
    listener = Reloading(file)
    try:
        daemon = run(str(file), engine, tmp_path / "run", load=load_by_vip, listeners=[listener])
        assert asyncio.run(asyncio.wait_for(daemon, 10)) == 0
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert Reloaded in listener.heard_of
    assert engine.asked == [{BY_GATE}, {BY_TUNNEL}, set()]


def test_the_value_in_the_map_is_the_headers_struct():
    fields = shapes.CHECK_PATH.fields
    packed = check_paths._VALUE.pack(b"v" * 16, b"r" * 16, 3, 0)
    assert len(packed) == shapes.CHECK_PATH.size
    for name, expected in (("vip", b"v"), ("real", b"r"), ("method", b"\x03")):
        assert packed[fields[name].offset :].startswith(expected)


def test_nobody_elses_addresses_lead_out():
    """Those that are refused before any route is asked for."""
    for path in (
        replace(BY_GATE, method=ForwardingMethod.MASQ),
        replace(BY_GATE, method=ForwardingMethod.LOCAL),
        replace(BY_GATE, service=ServiceKey.of_mark(7)),
        replace(BY_GATE, real=RealServerKey(ip_address("2001:db8::1"), 80)),
    ):
        assert not check_paths.leads_out(path)
