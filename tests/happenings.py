"""A small configuration and what may happen to it, for tests of listeners."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from onevip import health
from onevip.daemon.events import FallbackTurned, Probed, TableChanged, VerdictChanged
from onevip.health import State, Verdict
from onevip.model import (
    Change,
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    ForwardingMethod,
    MailAlert,
    Outcome,
    Phase,
    Protocol,
    RealServer,
    ServiceKey,
    Table,
    VirtualService,
)

WEB = ServiceKey(Protocol.TCP, ip_address("192.0.2.1"), 80)
MARK = ServiceKey.of_mark(7)
FALLBACK = RealServer(ip_address("127.0.0.1"), 80, ForwardingMethod.GATE, 1)
MAIL = MailAlert(("ops@example.org",), smtp_host="mx.example.org")


def real(last: int, weight: int = 2) -> RealServer:
    return RealServer(ip_address(f"10.0.0.{last}"), 80, ForwardingMethod.MASQ, weight)


ONE, TWO = real(1), real(2)


def check(server: RealServer, **fields: object) -> Check:
    plain = Check(CheckType.NEGOTIATE, server.address, server.port, 5.0, 10.0, service="http")
    return replace(plain, **fields)


def configured(key: ServiceKey = WEB, *reals: RealServer, **fields: object) -> ConfiguredService:
    servers = tuple(ConfiguredRealServer(one, check(one)) for one in reals or (ONE, TWO))
    plain = ConfiguredService(key, "wlc", servers, fallback=FALLBACK, mail=MAIL)
    return replace(plain, **fields)


def configuration(*services: ConfiguredService, **fields: object) -> Configuration:
    return Configuration("/etc/ha.d/ldirectord.cf", services or (configured(),), **fields)


def table(*reals: RealServer, key: ServiceKey = WEB) -> Table:
    return Table.of([VirtualService(key, "wlc", reals)])


def state(verdict: Verdict, reason: str = "connection refused") -> State:
    return State(1, verdict=verdict, reason=reason)


def changed(
    change: Change,
    before: Table,
    conf: Configuration,
    *,
    phase: Phase = Phase.RUNNING,
    verdict: State | None = None,
) -> TableChanged:
    return TableChanged(change, before, phase, conf, verdict)


def verdict_changed(
    server: RealServer,
    verdict: Verdict,
    before: RealServer | None,
    after: RealServer | None,
    *,
    applied: bool = True,
    reason: str = "connection refused",
) -> VerdictChanged:
    return VerdictChanged((WEB, server.key), state(verdict, reason), before, after, applied)


def probed(
    server: RealServer, outcome: Outcome, conf: Configuration, key: ServiceKey = WEB
) -> Probed:
    verdict = Verdict.UP if outcome.healthy else Verdict.DOWN
    after = state(verdict, outcome.reason)
    told = health.Probed(check(server), "http", outcome, after, after)
    return Probed(told, ((key, server.key),), conf)


def fallback_turned(on: bool, **fields: object) -> FallbackTurned:
    return FallbackTurned(configured(**fields), on)
