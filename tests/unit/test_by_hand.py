"""What is set by hand stays until the next change of verdict, whatever happens to the daemon."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onevip.config import parse
from onevip.daemon.notes import Notes
from onevip.engines.memory import MemoryEngine
from onevip.model import (
    AddRealServer,
    AddService,
    Clear,
    DataplaneError,
    DeleteRealServer,
    DeleteService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
    VirtualService,
)
from unit.test_daemon_director import CF, GOOD, MAIL, REFUSED, WEB, Desk

ONE, TWO = "10.20.0.11", "10.20.0.12"
KEEPING = "cleanstop=no\n" + CF
FOREIGN = VirtualService(MAIL, "rr", (RealServer(IPv4Address("10.9.9.9"), 25),))


def key(address: str) -> RealServerKey:
    return RealServerKey(IPv4Address(address), 80)


@pytest.fixture
def desk(tmp_path):
    """Both servers are up, at their weight of 2."""
    return up(Desk(tmp_path / "run").start(KEEPING))


def up(desk: Desk) -> Desk:
    for address in (ONE, TWO):
        desk.hear(address, GOOD)
    return desk


def said(desk: Desk) -> dict[str, str]:
    """Where the table differs: real server, or service, and how."""
    return {
        str(found.real.address if found.real else found.service): found.words
        for found in desk.director.differences(WEB)
    }


def killed(desk: Desk, text: str = KEEPING) -> Desk:
    """The next daemon on the same table, after a kill -9."""
    desk.ownership._unlock()  # as the kernel does
    return Desk(desk.directory, table=desk.engine.table).start(text)


def stopped(desk: Desk, text: str = KEEPING) -> Desk:
    """The next daemon, after SIGTERM."""
    assert desk.director.stop()
    desk.ownership.release()
    return Desk(desk.directory, table=desk.engine.table).start(text)


def test_a_weight_set_by_hand_stays_while_others_change(desk):
    desk.edit(ONE, weight=0)
    assert said(desk) == {ONE: "weight 0 set by hand, 2 configured"}
    desk.hear(TWO, REFUSED)
    desk.hear(TWO, GOOD)
    assert desk.weights() == {ONE: 0, TWO: 2}
    assert said(desk) == {ONE: "weight 0 set by hand, 2 configured"}


def test_the_next_change_of_verdict_ends_it(desk):
    desk.edit(ONE, weight=7)
    desk.hear(ONE, GOOD)
    assert desk.weights()[ONE] == 7
    desk.hear(ONE, REFUSED)
    assert desk.weights()[ONE] == 0
    assert said(desk) == {}
    desk.hear(ONE, GOOD)
    assert desk.weights()[ONE] == 2


def test_a_server_that_is_down_may_be_given_weight_by_hand(desk):
    desk.hear(ONE, REFUSED)
    desk.edit(ONE, weight=5)
    desk.hear(ONE, REFUSED)
    desk.hear(TWO, REFUSED)
    assert desk.weights() == {ONE: 5, TWO: 0, "127.0.0.1": 1}
    assert said(desk) == {ONE: "weight 5 set by hand, 2 configured"}


@pytest.mark.parametrize("again", [killed, stopped])
@pytest.mark.parametrize("cleanstop", ["no", "yes"])
def test_it_stays_over_the_end_of_the_daemon(tmp_path, again, cleanstop):
    text = f"cleanstop={cleanstop}\n{CF}"
    desk = up(Desk(tmp_path).start(text))
    desk.edit(ONE, weight=0)
    desk = up(again(desk, text))
    assert desk.weights() == {ONE: 0, TWO: 2}
    assert said(desk) == {ONE: "weight 0 set by hand, 2 configured"}
    desk = up(again(desk, text))  # and over the next one
    assert desk.weights() == {ONE: 0, TWO: 2}
    desk.hear(ONE, REFUSED)
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 2}


@pytest.mark.parametrize("again", [killed, stopped])
def test_another_first_verdict_after_a_restart_ends_it(desk, again):
    desk.edit(ONE, weight=1)
    desk = again(desk)
    desk.hear(ONE, REFUSED)
    assert desk.weights()[ONE] == 0
    desk.hear(ONE, GOOD)
    assert desk.weights()[ONE] == 2


def test_what_is_set_while_no_daemon_runs_stays_too(desk):
    desk.ownership._unlock()
    desk.edit(ONE, weight=0)
    desk = up(Desk(desk.directory, table=desk.engine.table).start(KEEPING))
    assert desk.weights() == {ONE: 0, TWO: 2}


def test_a_reload_keeps_it_and_changes_the_rest_of_the_row(desk):
    desk.edit(ONE, weight=1)
    desk.use(KEEPING.replace("gate 2", "masq 9"))
    rows = {str(r.address): r for r in desk.engine.table.get(WEB).real_servers}
    assert (rows[ONE].weight, rows[ONE].method) == (1, ForwardingMethod.MASQ)
    assert (rows[TWO].weight, rows[TWO].method) == (9, ForwardingMethod.MASQ)
    assert said(desk) == {ONE: "weight 1 set by hand, 9 configured"}


def test_a_weight_of_the_file_that_changed_meanwhile_is_no_hand(desk):
    desk = up(killed(desk, KEEPING.replace("gate 2", "gate 9")))
    assert desk.weights() == {ONE: 9, TWO: 9}
    assert said(desk) == {}


def test_who_sets_the_configured_weight_again_has_set_nothing_by_hand(desk):
    desk.edit(ONE, weight=1)
    desk.use(KEEPING)
    desk.edit(ONE, weight=2)
    assert said(desk) == {}
    desk.use(KEEPING.replace("gate 2", "gate 9"))
    assert desk.weights() == {ONE: 9, TWO: 9}


def test_method_and_thresholds_are_terms_too(desk):
    desk.edit(ONE, method=ForwardingMethod.IPIP, upper_threshold=100, lower_threshold=50)
    desk.hear(TWO, REFUSED)
    desk.use(KEEPING)
    (row,) = (r for r in desk.engine.table.get(WEB).real_servers if r.key == key(ONE))
    assert (row.weight, row.method) == (2, ForwardingMethod.IPIP)
    assert (row.upper_threshold, row.lower_threshold) == (100, 50)
    assert said(desk)[ONE] == (
        "method ipip set by hand, gate configured; upper threshold 100 set by hand, 0 configured; "
        "lower threshold 50 set by hand, 0 configured"
    )


def test_a_daemon_killed_in_the_middle_of_a_change_takes_its_own_work_for_no_hand(desk):
    """Killed before the engine had it, the old row is found; killed after, the new one."""
    table = desk.engine.table
    desk.engine.refusal = DataplaneError("map update", "killed here")
    desk.hear(ONE, REFUSED)
    after = killed(desk)
    assert after.engine.table == table
    assert said(after) == {}
    after.hear(ONE, REFUSED)
    assert after.weights()[ONE] == 0


def test_nor_when_it_is_killed_right_after_the_engine_had_it(desk):
    class Killing(MemoryEngine):
        def apply(self, changes):
            super().apply(changes)
            raise KeyboardInterrupt

    desk.director._engine = desk.engine = Killing(desk.engine.table)
    with pytest.raises(KeyboardInterrupt):
        desk.hear(ONE, REFUSED)
    after = killed(desk)
    assert after.weights()[ONE] == 0
    assert said(after) == {}
    after.hear(ONE, GOOD)
    assert after.weights()[ONE] == 2


@pytest.mark.parametrize("quiescent", ["yes", "no"])
def test_with_checktype_off_a_hand_alone_decides_who_is_in(tmp_path, quiescent):
    text = KEEPING.replace("quiescent=yes", f"quiescent={quiescent}")
    desk = Desk(tmp_path).start(text + "    checktype=on\n")
    text += "    checktype=off\n"
    desk.use(text)
    desk.edit(ONE, weight=0)
    desk.edit(TWO, weight=5)
    for again in (killed, stopped):
        desk = again(desk, text)
        assert desk.weights() == {ONE: 0, TWO: 5}


# Deleted, added.


def test_a_row_that_somebody_deleted_comes_back_at_its_next_change_of_verdict(desk):
    desk.engine.apply([DeleteRealServer(WEB, key(ONE))])
    assert said(desk)[ONE].startswith("deleted by hand: comes back")
    desk.hear(TWO, REFUSED)
    assert desk.weights() == {TWO: 0}
    desk.hear(ONE, REFUSED)
    assert desk.weights() == {TWO: 0, "127.0.0.1": 1}
    assert said(desk)[ONE].startswith("deleted by hand")
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 0}
    assert said(desk) == {}


def test_with_readdquiescent_it_comes_back_without_weight_when_it_goes_down(tmp_path):
    desk = up(Desk(tmp_path).start(readd_quiescent=True))
    desk.engine.apply([DeleteRealServer(WEB, key(ONE))])
    desk.hear(ONE, REFUSED)
    assert desk.weights() == {ONE: 0, TWO: 2}


@pytest.mark.parametrize("again", [killed, stopped, Desk.use])
def test_a_reload_and_a_start_put_every_row_back(desk, again):
    desk.edit(ONE, weight=7)
    desk.engine.apply([DeleteRealServer(WEB, key(ONE)), DeleteRealServer(WEB, key(TWO))])
    again_desk = again(desk, KEEPING)
    desk = up(again_desk if isinstance(again_desk, Desk) else desk)
    assert desk.weights() == {ONE: 2, TWO: 2}


@pytest.mark.parametrize("change", [Clear(), DeleteService(WEB)])
def test_a_service_that_somebody_deleted_comes_back_with_the_next_verdict(desk, change):
    desk.engine.apply([change])
    assert said(desk)[str(WEB)].startswith("deleted by hand: comes back")
    desk.hear(TWO, REFUSED)
    assert desk.weights() == {ONE: 2, TWO: 0}
    assert said(desk) == {}


def test_a_reload_puts_a_deleted_service_back(desk):
    desk.engine.apply([Clear()])
    desk.use(KEEPING)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_a_row_added_by_hand_stays_until_a_reload(desk):
    stranger = RealServer(IPv4Address("10.20.0.99"), 80, weight=3)
    desk.engine.apply([AddRealServer(WEB, stranger)])
    desk.hear(ONE, REFUSED)
    assert desk.weights() == {ONE: 0, TWO: 2, "10.20.0.99": 3}
    assert said(desk) == {"10.20.0.99": "added by hand with weight 3: deleted at the next reload"}
    desk.use(KEEPING)
    assert desk.weights() == {ONE: 0, TWO: 2}


def test_a_server_that_is_out_of_the_table_may_be_added_by_hand(tmp_path):
    text = KEEPING.replace("quiescent=yes", "quiescent=no")
    desk = up(Desk(tmp_path).start(text))
    desk.hear(ONE, REFUSED)
    desk.engine.apply([AddRealServer(WEB, RealServer(IPv4Address(ONE), 80, weight=4))])
    assert said(desk) == {ONE: "added by hand with weight 4"}
    desk = killed(desk, text)
    desk.hear(ONE, REFUSED)
    assert desk.weights() == {ONE: 4, TWO: 2}
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_a_scheduler_set_by_hand_stays_until_a_reload(desk):
    table = desk.engine.table.with_edited_service(WEB, "rr", desk.engine.table.get(WEB).options)
    desk.engine.table = table
    desk.hear(ONE, REFUSED)
    assert desk.engine.table.get(WEB).scheduler == "rr"
    assert said(desk)[str(WEB)] == "scheduler rr set by hand, wrr configured: until a reload"
    desk.use(KEEPING)
    assert desk.engine.table.get(WEB).scheduler == "wrr"


def test_a_fallback_server_that_somebody_deleted_is_told_and_comes_back(desk):
    for address in (ONE, TWO):
        desk.hear(address, REFUSED)
    desk.engine.apply([DeleteRealServer(WEB, RealServerKey(IPv4Address("127.0.0.1"), 80))])
    assert said(desk)["127.0.0.1"].startswith("fallback server deleted by hand")
    desk.use(KEEPING)
    assert desk.weights() == {ONE: 0, TWO: 0, "127.0.0.1": 1}


# Strangers.

numbers = st.integers(1, 3)
strangers = st.one_of(
    st.tuples(st.just("add"), numbers, st.integers(0, 5)),
    st.tuples(st.just("delete"), numbers, st.just(0)),
    st.tuples(st.just("service"), numbers, st.just(0)),
    st.tuples(st.just("gone"), numbers, st.just(0)),
)
ours = st.tuples(
    st.sampled_from(["good", "bad", "reload", "kill", "stop"]), st.sampled_from([ONE, TWO])
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(strangers, ours), max_size=15))
def test_a_service_that_nobody_owns_is_never_touched(tmp_path_factory, story):
    """Whatever hands do to services of their own, between whatever the daemon does."""
    desk = Desk(tmp_path_factory.mktemp("run")).start(KEEPING)
    theirs = Table.of()
    for step in story:
        if step[0] in ("good", "bad"):
            desk.hear(step[1], GOOD if step[0] == "good" else REFUSED)
        elif step[0] == "reload":
            desk.use(KEEPING)
        elif step[0] == "kill":
            desk = killed(desk)
        elif step[0] == "stop":
            desk = stopped(desk)
        else:
            theirs = strange(theirs, desk.engine, step)
        left = {k: s for k, s in desk.engine.table.services.items() if k != WEB}
        assert Table(left) == theirs


def strange(theirs: Table, engine: MemoryEngine, step: tuple[str, int, int]) -> Table:
    """What a hand does to a service of its own: to the engine, and to what we expect."""
    what, number, weight = step
    service = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 8000 + number)
    real = RealServer(IPv4Address("10.9.9.9"), 80, weight=weight)
    mine = theirs.get(service)
    if what == "service" and mine is None:
        change = AddService(service, "rr")
    elif what == "gone" and mine is not None:
        change = DeleteService(service)
    elif what == "add" and mine is not None and mine.real_server(real.key) is None:
        change = AddRealServer(service, real)
    elif what == "delete" and mine is not None and mine.real_server(real.key) is not None:
        change = DeleteRealServer(service, real.key)
    else:
        return theirs
    engine.apply([change])
    return theirs.apply([change])


# The notes.


def test_damaged_notes_are_left_out_with_a_word(desk, caplog):
    (path,) = desk.directory.glob("*.rows.jsonl")
    desk.edit(ONE, weight=7)
    with path.open("a") as file:
        file.write('nonsense\n{"version": 9}\n[]\n{"version": 1, "service": 3}\n{"vers')
    desk = up(killed(desk))
    assert "5 damaged lines" in caplog.text
    assert desk.weights() == {ONE: 7, TWO: 2}
    desk.hear(ONE, REFUSED)
    killed(desk)
    assert caplog.text.count("damaged lines") == 1  # they went with the next note


def test_notes_that_can_be_written_again_say_what_happened_meanwhile(desk, monkeypatch):
    with monkeypatch.context() as full_disk:
        full_disk.setattr(desk.ownership.notes, "_path", Path("/proc/none/rows.jsonl"))
        desk.hear(ONE, REFUSED)
    desk.hear(TWO, REFUSED)
    # Else the daemon's own weight of 0 would pass for a hand's, and a healthy server keep it.
    assert up(killed(desk)).weights() == {ONE: 2, TWO: 2}


def test_notes_are_written_anew_before_they_grow_without_end(desk, monkeypatch):
    monkeypatch.setattr("onevip.daemon.notes.LINES_AT_LEAST", 20)
    (path,) = desk.directory.glob("*.rows.jsonl")
    for _ in range(30):
        desk.hear(ONE, REFUSED)
        desk.hear(ONE, GOOD)
    assert len(path.read_text().splitlines()) <= 20
    assert up(killed(desk)).weights() == {ONE: 2, TWO: 2}


def test_notes_that_cannot_be_written_hold_nothing_up(desk, caplog):
    desk.ownership.notes._path = Path("/proc/none/rows.jsonl")
    desk.hear(ONE, REFUSED)
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 2}
    assert caplog.text.count("cannot be written") == 1


def test_a_clean_stop_without_anything_by_hand_leaves_no_notes(tmp_path):
    desk = up(Desk(tmp_path).start(CF))
    assert desk.director.stop()
    desk.ownership.release()
    assert list(tmp_path.iterdir()) == []


def test_notes_survive_what_they_say(tmp_path):
    mark, six = ServiceKey.of_mark(7, 6), IPv6Address("2001:db8::1")
    service = parse(CF, "lb.cf").services[0]
    server = service.real_servers[0]
    of_six = replace(server, real=replace(server.real, address=six))
    services = (service, replace(service, key=mark, real_servers=(of_six,), fallback=None))
    desk = up(Desk(tmp_path).start(services=services))
    desk.edit(ONE, weight=3)
    desk.use(CF, services=services)
    (path,) = tmp_path.glob("*.rows.jsonl")
    again = Notes(path)
    again.load()
    rows = desk.ownership.notes.rows()
    assert {row: again.get(row) for row in rows} == {
        row: desk.ownership.notes.get(row) for row in rows
    }
    assert len(rows) == 3


def test_what_left_the_file_is_forgotten(desk):
    desk.edit(ONE, weight=7)
    desk.use("# nothing\n")
    assert desk.ownership.notes.rows() == []
    desk.use(KEEPING)
    assert up(desk).weights() == {ONE: 2, TWO: 2}


def test_a_restart_with_the_last_server_out_by_hand_does_not_turn_the_fallback_on(desk):
    desk.hear(TWO, REFUSED)
    desk.edit(ONE, weight=0)
    desk = killed(desk)
    assert desk.engine.applied == []
    desk = up(desk)
    assert desk.weights() == {ONE: 0, TWO: 2}


def test_a_change_that_the_engine_refused_is_no_deletion_by_hand(tmp_path):
    desk = Desk(tmp_path).start(KEEPING.replace("quiescent=yes", "quiescent=no"))
    desk.engine.refusal = DataplaneError("map update", "planted")
    desk.hear(ONE, GOOD)
    desk.director.converge()
    desk.engine.refusal = None
    assert desk.director.converge()
    assert desk.weights() == {ONE: 2}


def test_a_verdict_that_comes_with_a_reload_ends_it_too(desk):
    desk.edit(ONE, weight=7)
    desk.hear(ONE, REFUSED, converge=False)
    desk.use(KEEPING)
    assert desk.weights() == {ONE: 0, TWO: 2}
