"""Tables and their differences: what `diff` promises, for any two tables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onevip.engines.memory import MemoryEngine
from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerExists,
    ServiceExists,
    ServiceKey,
    Table,
    UnknownRealServer,
    UnknownService,
    VirtualService,
    Zero,
    diff,
)

addresses = st.sampled_from([IPv4Address(f"10.0.0.{n}") for n in range(1, 6)])
ports = st.sampled_from([80, 443])
reals = st.builds(
    RealServer, addresses, ports, st.sampled_from(ForwardingMethod), st.integers(0, 3)
)
keys = st.builds(ServiceKey, st.sampled_from(Protocol), addresses, ports)
rows = st.lists(reals, max_size=6, unique_by=lambda real: real.key).map(tuple)
services = st.builds(VirtualService, keys, st.sampled_from(["rr", "wlc"]), rows)
tables = st.lists(services, max_size=5, unique_by=lambda service: service.key).map(Table.of)

WEB = ServiceKey(Protocol.TCP, IPv4Address("10.0.0.100"), 80)
REAL = RealServer(IPv4Address("10.0.0.11"), 80, ForwardingMethod.GATE, 2)
OTHER = RealServer(IPv4Address("10.0.0.12"), 80, ForwardingMethod.GATE, 2)


def table(*real_servers: RealServer, scheduler: str = "rr") -> Table:
    return Table.of([VirtualService(WEB, scheduler, real_servers)])


@given(tables, tables)
def test_the_difference_applied_gives_the_other_table(a, b):
    assert a.apply(diff(a, b)) == b


@given(tables)
def test_equal_tables_differ_in_nothing(a):
    assert diff(a, a) == []


@given(tables, tables)
def test_each_change_of_a_difference_does_something(a, b):
    for change in diff(a, b):
        after = a.apply([change])
        assert after != a
        a = after


few = st.lists(
    st.builds(
        RealServer,
        st.sampled_from([IPv4Address("10.0.0.11"), IPv4Address("10.0.0.12")]),
        st.just(80),
        weight=st.integers(0, 2),
    ),
    max_size=2,
    unique_by=lambda real: real.key,
)


@given(few, few)
@example([REAL, replace(OTHER, weight=0)], [replace(REAL, weight=0), OTHER])
def test_a_service_with_weight_before_and_after_has_weight_all_the_way(before, after):
    def has_weight(table: Table) -> bool:
        return any(not real.is_quiescent for real in table.get(WEB).real_servers)

    a, b = table(*before), table(*after)
    always = has_weight(a) and has_weight(b)
    for change in diff(a, b):
        a = a.apply([change])
        assert has_weight(a) or not always
    assert a == b


@given(tables, tables)
def test_an_engine_that_applies_a_difference_holds_the_other_table(a, b):
    engine = MemoryEngine(a)
    engine.apply(diff(engine.read(), b))
    assert engine.read() == b


@given(tables, st.lists(keys))
def test_a_restricted_table_holds_those_services_and_no_others(a, some):
    restricted = a.restricted_to(some)
    assert {service.key for service in restricted} == {s.key for s in a} & set(some)


def test_the_order_of_real_servers_is_kept_but_no_part_of_equality():
    assert table(REAL, OTHER) == table(OTHER, REAL)
    assert hash(table(REAL, OTHER)) == hash(table(OTHER, REAL))
    service = table(REAL).apply([AddRealServer(WEB, OTHER)]).get(WEB)
    assert service.real_servers == (REAL, OTHER)


def test_tables_with_different_real_servers_are_not_equal():
    assert table(REAL) != table(OTHER)
    assert table(REAL) != table()
    assert table(REAL) != table(REAL, scheduler="wrr")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (AddService(WEB, "rr"), ServiceExists),
        (AddRealServer(WEB, REAL), RealServerExists),
        (EditRealServer(WEB, OTHER), UnknownRealServer),
        (DeleteRealServer(WEB, OTHER.key), UnknownRealServer),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change, error):
    with pytest.raises(error):
        table(REAL).apply([change])


@pytest.mark.parametrize(
    "change",
    [
        EditService(WEB, "rr"),
        DeleteService(WEB),
        AddRealServer(WEB, REAL),
        DeleteRealServer(WEB, REAL.key),
        Zero(WEB),
    ],
)
def test_a_change_of_an_unknown_service_is_refused(change):
    with pytest.raises(UnknownService):
        Table.of().apply([change])


def test_clear_empties_and_zero_changes_nothing():
    assert table(REAL).apply([Zero(), Zero(WEB)]) == table(REAL)
    assert table(REAL).apply([Clear()]) == Table.of()


def test_a_real_server_stands_once_in_a_service():
    with pytest.raises(ValueError, match="stands twice"):
        VirtualService(WEB, "rr", (REAL, REAL))


def test_repr_is_a_status_line():
    quiescent = RealServer(IPv4Address("10.0.0.12"), 80, ForwardingMethod.GATE, 0)
    assert repr(table(REAL, quiescent).get(WEB)) == (
        "<VirtualService tcp 10.0.0.100:80 rr, 1/2 with weight>"
    )
