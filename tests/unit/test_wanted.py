"""Which table is wanted: the rules of weight, absence and fallback."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from onevip.daemon.wanted import wanted
from onevip.health import Verdict
from onevip.model import (
    Check,
    CheckType,
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
    ServiceOptions,
    Table,
    VirtualService,
    diff,
)

WEB = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 80)
FALLBACK = RealServer(IPv4Address("127.0.0.1"), 80, ForwardingMethod.GATE, 1)
UP, DOWN, UNPROVEN = Verdict.UP, Verdict.DOWN, Verdict.UNPROVEN


def server(number: int, weight: int = 2) -> ConfiguredRealServer:
    address = IPv4Address(f"10.20.0.{10 + number}")
    return ConfiguredRealServer(
        RealServer(address, 80, ForwardingMethod.GATE, weight),
        Check(CheckType.NEGOTIATE, address, 80, timeout_s=3, interval_s=1, service="http"),
    )


ONE, TWO = server(1), server(2)


def test_a_quiescent_server_keeps_its_thresholds():
    real = replace(ONE.real, upper_threshold=100, lower_threshold=50)
    service = ConfiguredService(WEB, "wrr", (replace(ONE, real=real),), None, quiescent=True)
    (row,) = (
        wanted(Configuration("lb.cf", (service,)), {ONE.check: DOWN}, Table.of())
        .get(WEB)
        .real_servers
    )
    assert row == replace(real, weight=0)


def table(
    *verdicts: Verdict,
    quiescent: bool = True,
    actual: tuple[RealServer, ...] | None = None,
    fallback: RealServer | None = FALLBACK,
    servers: tuple[ConfiguredRealServer, ...] = (ONE, TWO),
) -> dict[str, int]:
    """Address → weight of the wanted rows, when the servers have these verdicts."""
    options = ServiceOptions(persistent_s=300)
    service = ConfiguredService(WEB, "wrr", servers, fallback, quiescent, options=options)
    before = Table.of() if actual is None else Table.of([VirtualService(WEB, "wrr", actual)])
    result = wanted(
        Configuration("lb.cf", (service,)),
        dict(zip((s.check for s in servers), verdicts, strict=True)),
        before,
    )
    assert (result.get(WEB).scheduler, result.get(WEB).options) == ("wrr", options)
    return {str(real.address): real.weight for real in result.get(WEB).real_servers}


def test_servers_that_are_up_have_their_weight():
    assert table(UP, UP) == {"10.20.0.11": 2, "10.20.0.12": 2}


def test_a_server_that_is_down_is_quiescent_or_absent():
    assert table(UP, DOWN, quiescent=True) == {"10.20.0.11": 2, "10.20.0.12": 0}
    assert table(UP, DOWN, quiescent=False) == {"10.20.0.11": 2}


def test_an_unproven_server_has_no_weight():
    assert table(UP, UNPROVEN, quiescent=True) == {"10.20.0.11": 2, "10.20.0.12": 0}
    assert table(UP, UNPROVEN, quiescent=False) == {"10.20.0.11": 2}


def test_an_unproven_server_found_in_the_table_keeps_its_row_and_weight():
    found = replace(TWO.real, weight=7, method=ForwardingMethod.MASQ)
    for quiescent in (True, False):
        assert table(UP, UNPROVEN, actual=(found,), quiescent=quiescent)["10.20.0.12"] == 7
        gone = {"10.20.0.12": 0} if quiescent else {}
        assert table(UP, DOWN, actual=(found,), quiescent=quiescent) == {"10.20.0.11": 2, **gone}
    assert table(UP, UP, actual=(found,))["10.20.0.12"] == 2


def test_the_fallback_stands_in_while_no_server_has_weight():
    assert table(DOWN, UNPROVEN, quiescent=True) == {
        "10.20.0.11": 0,
        "10.20.0.12": 0,
        "127.0.0.1": 1,
    }
    assert table(DOWN, DOWN, quiescent=False) == {"127.0.0.1": 1}
    assert table(DOWN, DOWN, quiescent=False, fallback=None) == {}
    assert "127.0.0.1" not in table(UP, DOWN)
    found = replace(ONE.real, weight=1)
    assert "127.0.0.1" not in table(UNPROVEN, DOWN, actual=(found,))


def test_a_server_whose_configured_weight_is_0_does_not_keep_the_fallback_out():
    assert table(UP, servers=(server(1, weight=0),)) == {"10.20.0.11": 0, "127.0.0.1": 1}


def test_a_service_without_servers_has_its_fallback():
    assert table(servers=()) == {"127.0.0.1": 1}


def test_the_fallback_may_be_one_of_the_servers():
    spare = replace(ONE.real, weight=1)
    assert table(DOWN, DOWN, fallback=spare) == {"10.20.0.11": 1, "10.20.0.12": 0}
    assert table(UP, DOWN, fallback=spare) == {"10.20.0.11": 2, "10.20.0.12": 0}


def test_a_service_that_is_not_configured_is_not_wanted():
    other = ServiceKey(Protocol.UDP, IPv4Address("10.20.0.100"), 53)
    actual = Table.of([VirtualService(other, "rr", (ONE.real,))])
    assert len(wanted(Configuration("lb.cf", ()), {}, actual)) == 0


verdicts = st.sampled_from(Verdict)
rows = st.dictionaries(st.integers(1, 4), st.integers(0, 3)).map(
    lambda found: tuple(replace(server(n).real, weight=weight) for n, weight in found.items())
)


@given(st.tuples(verdicts, verdicts), st.booleans(), rows)
def test_what_is_wanted_is_still_wanted_once_it_is_there(found, quiescent, actual):
    """Without a new verdict the table comes to rest after one change."""
    service = ConfiguredService(WEB, "wrr", (ONE, TWO), FALLBACK, quiescent)
    configuration = Configuration("lb.cf", (service,))
    known = {ONE.check: found[0], TWO.check: found[1]}
    first = wanted(configuration, known, Table.of([VirtualService(WEB, "wrr", actual)]))
    assert diff(first, wanted(configuration, known, first)) == []


@given(st.tuples(verdicts, verdicts), st.booleans(), rows)
def test_a_service_with_a_fallback_always_has_weight_and_the_fallback_only_alone(
    found, quiescent, actual
):
    weights = table(*found, quiescent=quiescent, actual=actual)
    assert any(weights.values())
    others = [weight for address, weight in weights.items() if address != "127.0.0.1"]
    assert ("127.0.0.1" in weights) == (not any(others))
