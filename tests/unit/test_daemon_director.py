"""The director: configuration and verdicts in, changes of an engine's table and log lines out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.config import parse
from onevip.daemon.director import Director
from onevip.daemon.events import Event
from onevip.daemon.journal import Journal
from onevip.daemon.ownership import AlreadyRunning, BelongsToAnother, Ownership
from onevip.engines.memory import MemoryEngine
from onevip.health import Probed, State, Verdict, initial, step
from onevip.model import (
    AddService,
    Check,
    Configuration,
    DataplaneError,
    EditRealServer,
    EditService,
    Outcome,
    Protocol,
    RealServer,
    ServiceKey,
    ServiceOptions,
    Table,
    UnknownScheduler,
    VirtualService,
)

CF = """\
quiescent=yes
checkinterval=1
virtual=10.20.0.100:80
    real=10.20.0.11:80 gate 2
    real=10.20.0.12:80 gate 2
    fallback=127.0.0.1:80 gate
"""
WEB = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 80)
MAIL = ServiceKey(Protocol.TCP, IPv4Address("10.20.0.100"), 25)
GOOD = Outcome(True, "status 200")
REFUSED = Outcome(False, "connection refused")


class FakeChecks:
    """Checks whose outcomes the test decides."""

    def __init__(self) -> None:
        self.states: dict[Check, State] = {}

    def watch(self, checks: Iterable[Check]) -> None:
        self.states = {check: self.states.get(check) or initial(check, 0) for check in checks}


class Desk:
    """A director on a fake engine, and what surrounds it."""

    def __init__(self, directory: Path, file: str = "lb.cf", table: Table | None = None) -> None:
        self.engine = MemoryEngine(table)
        self.checks = FakeChecks()
        self.wakes = 0
        self.file, self.directory = file, directory
        self.ownership = Ownership(directory, file)
        self.ownership.acquire()
        self.director = Director(self.engine, self.ownership, self.checks, self._wake, self._tell)
        self.events: list[Event] = []
        self._journal = Journal()

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._journal.heard(event)

    def _wake(self) -> None:
        self.wakes += 1

    def start(self, text: str = CF, **values: object) -> Desk:
        self.director.start(replace(parse(text, self.file), **values))
        return self

    def use(self, text: str, **values: object) -> Configuration:
        configuration = replace(parse(text, self.file), **values)
        self.director.use(configuration)
        assert self.director.converge()
        return configuration

    def edit(self, address: str, key: ServiceKey = WEB, **terms: int) -> None:
        """As `ipvsadm -e`."""
        (row,) = (r for r in self.engine.table.get(key).real_servers if str(r.address) == address)
        self.engine.apply([EditRealServer(key, replace(row, **terms))])

    def hear(self, address: str, outcome: Outcome, *, converge: bool = True) -> None:
        (check,) = (c for c in self.checks.states if str(c.address) == address)
        before = self.checks.states[check]
        after = self.checks.states[check] = step(before, outcome, 1)
        self.director.heard(Probed(check, check.service, outcome, before, after))
        if converge:
            self.director.converge()

    def weights(self, key: ServiceKey = WEB) -> dict[str, int] | None:
        service = self.engine.table.get(key)
        if service is None:
            return None
        return {str(real.address): real.weight for real in service.real_servers}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "run")


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "onevip")
    return lambda: [record.getMessage() for record in caplog.records]


def test_at_the_start_no_server_has_weight_and_the_fallback_serves(desk, said):
    desk.start()
    assert desk.weights() == {"10.20.0.11": 0, "10.20.0.12": 0, "127.0.0.1": 1}
    assert said()[0] == "virtual service tcp 10.20.0.100:80 added, scheduler wrr"
    assert "fallback server 127.0.0.1:80 of tcp 10.20.0.100:80: added with weight 1" in said()


def test_a_good_check_gives_weight_and_a_bad_one_takes_it(desk, said):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    desk.hear("10.20.0.12", GOOD)
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 2}
    desk.hear("10.20.0.11", REFUSED)
    assert desk.weights() == {"10.20.0.11": 0, "10.20.0.12": 2}
    assert said()[-1] == (
        "real server 10.20.0.11:80 of tcp 10.20.0.100:80 is down: connection refused; weight 2 -> 0"
    )


def test_without_quiescent_a_server_that_is_down_leaves_the_table(desk, said):
    desk.start("quiescent=no\n" + CF.partition("\n")[2])
    desk.hear("10.20.0.11", GOOD)
    assert said()[-2].endswith("is up: status 200; added with weight 2")
    desk.hear("10.20.0.11", REFUSED)
    assert desk.weights() == {"127.0.0.1": 1}
    assert any(line.endswith("refused; removed, weight was 2") for line in said())


def test_verdicts_that_come_together_change_the_table_together(desk):
    desk.start()
    desk.hear("10.20.0.11", GOOD, converge=False)
    desk.hear("10.20.0.12", GOOD, converge=False)
    assert desk.wakes == 2
    desk.engine.applied.clear()
    desk.director.converge()
    assert len(desk.engine.applied) == 3  # two weights and the fallback


def test_an_outcome_that_changes_no_verdict_changes_no_table(desk):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    desk.engine.applied.clear()
    wakes = desk.wakes
    desk.hear("10.20.0.11", GOOD)
    assert (desk.engine.applied, desk.wakes) == ([], wakes)


def test_a_failure_below_failurecount_is_told_and_changes_nothing(desk, said):
    desk.start("failurecount=3\n" + CF)
    desk.hear("10.20.0.11", GOOD)
    desk.hear("10.20.0.11", REFUSED)
    assert desk.weights()["10.20.0.11"] == 2
    assert said()[-1].endswith("failed 1 of 3 times: connection refused")
    told = len(said())
    desk.hear("10.20.0.11", Outcome(False, "no descriptors", tried=False))
    assert len(said()) == told


# Adoption and ownership.


def test_what_is_found_in_the_table_does_not_flicker(tmp_path):
    before = Desk(tmp_path).start()
    before.hear("10.20.0.11", GOOD)
    table = before.engine.table
    before.ownership.release()  # killed

    after = Desk(tmp_path, table=table).start()
    assert after.engine.applied == []
    after.hear("10.20.0.12", REFUSED)
    assert after.engine.applied == []
    after.hear("10.20.0.11", GOOD)
    assert after.engine.applied == []


def test_a_service_that_the_daemon_did_not_make_is_never_touched(tmp_path):
    foreign = VirtualService(MAIL, "rr", (RealServer(IPv4Address("10.9.9.9"), 25),))
    desk = Desk(tmp_path, table=Table.of([foreign])).start()
    desk.use("# nothing\n")
    assert desk.director.stop()
    assert list(desk.engine.table) == [foreign]


def test_a_service_by_mark_is_its_daemons_over_a_restart(tmp_path):
    by_mark = CF.replace("virtual=10.20.0.100:80", "virtual=7")
    before = Desk(tmp_path).start(by_mark)
    assert before.ownership.services == {ServiceKey.of_mark(7)}
    before.ownership.release()
    after = Desk(tmp_path, table=before.engine.table)
    assert after.ownership.services == {ServiceKey.of_mark(7)}
    after.start(by_mark.replace("virtual=7", "virtual=8"))
    assert set(after.engine.table.services) == {ServiceKey.of_mark(8)}


def test_a_service_that_left_the_file_while_no_daemon_ran_is_deleted(tmp_path):
    before = Desk(tmp_path).start()
    before.ownership.release()
    after = Desk(tmp_path, table=before.engine.table).start(CF.replace(":80", ":8080"))
    assert after.weights() is None
    assert len(after.engine.table) == 1


def test_ownership_is_on_disk_before_the_table_changes(tmp_path):
    desk = Desk(tmp_path)
    desk.engine.refusal = DataplaneError("map update", "planted")
    with pytest.raises(DataplaneError):
        desk.start()
    (file,) = tmp_path.glob("*.services.json")
    assert json.loads(file.read_text())["services"] == [["tcp", "10.20.0.100", 80]]


def test_a_damaged_list_is_a_warning(tmp_path, said):
    before = Desk(tmp_path).start()
    before.ownership.release()
    (file,) = tmp_path.glob("*.services.json")
    for damage in ("", "{", "[]", '{"services": [["tcp"]]}', '{"services": 3}', "null", "\0"):
        file.write_text(damage)
        desk = Desk(tmp_path)
        assert desk.ownership.services == frozenset()
        assert "is damaged" in said()[-1]
        desk.ownership.release()


def test_two_daemons_on_one_file_are_refused(tmp_path):
    first = Ownership(tmp_path, "lb.cf")
    first.acquire()
    with pytest.raises(AlreadyRunning, match=r"lb\.cf runs already \(pid [0-9]+\)"):
        Ownership(tmp_path, "./lb.cf").acquire()
    first.release()
    second = Ownership(tmp_path, "lb.cf")
    second.acquire()
    second.release()


def test_a_daemon_that_owns_nothing_leaves_no_file(tmp_path):
    Desk(tmp_path).ownership.release()  # its file was broken, say
    desk = Desk(tmp_path).start()
    assert len(list(tmp_path.iterdir())) == 3
    assert desk.director.stop()
    desk.ownership.release()
    assert list(tmp_path.iterdir()) == []


def test_a_second_daemon_takes_no_lock_away(tmp_path):
    first, second = (Ownership(tmp_path, "lb.cf") for _ in range(2))
    first.acquire()
    for _ in range(2):
        with pytest.raises(AlreadyRunning):
            second.acquire()
        second.release()


def test_two_daemons_on_two_files_live_side_by_side(tmp_path):
    one = Desk(tmp_path, "one.cf").start()
    two = Desk(tmp_path, "two.cf", one.engine.table)
    with pytest.raises(BelongsToAnother) as refused:
        two.start()
    assert str(refused.value) == (
        f"two.cf:3: tcp 10.20.0.100:80 belongs to the daemon of {Path('one.cf').resolve()}"
    )
    two.start(CF.replace(":80", ":8080"))
    assert len(two.engine.table) == 2
    with pytest.raises(BelongsToAnother):
        two.director.use(parse(CF, "two.cf"))
    one.ownership.release()  # ended without taking its services along
    two.use(CF)
    assert list(two.engine.table.services) == [WEB]
    # The first comes back: what is the second's now is not its own any more.
    again = Desk(tmp_path, "one.cf", two.engine.table).start("")
    assert list(again.engine.table.services) == [WEB]


# Reload.


def test_a_reload_keeps_the_verdicts_of_unchanged_checks(desk):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    desk.engine.applied.clear()
    desk.use(CF + "    real=10.20.0.13:80 gate 5\n")
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 0, "10.20.0.13": 0}
    assert len(desk.engine.applied) == 1


def test_a_reload_changes_weight_scheduler_and_quiescence_at_once(desk, said):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    text = CF.replace("quiescent=yes", "quiescent=no").replace("gate 2", "masq 5")
    desk.use(text + "    scheduler=rr\n")
    assert desk.weights() == {"10.20.0.11": 5, "10.20.0.12": 0}  # not yet proven: as found
    assert "virtual service tcp 10.20.0.100:80: scheduler wrr -> rr" in said()
    assert "real server 10.20.0.11:80 of tcp 10.20.0.100:80: gate -> masq, weight 2 -> 5" in said()
    desk.hear("10.20.0.12", REFUSED)
    assert desk.weights() == {"10.20.0.11": 5}


def test_a_server_whose_check_changes_keeps_its_weight_until_the_new_verdict(desk):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    desk.use("checktimeout=9\n" + CF)
    assert desk.checks.states != {}
    assert all(s.verdict is Verdict.UNPROVEN for s in desk.checks.states.values())
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 0}


def test_a_reload_changes_options_and_nothing_else(desk, said):
    desk.start()
    desk.hear("10.20.0.11", GOOD)
    weights = desk.weights()
    desk.use(CF + "    persistent=300\n    netmask=255.255.255.0\n")
    change = desk.engine.applied[-1]
    assert change == EditService(
        WEB, "wrr", ServiceOptions(persistent_s=300, netmask=IPv4Address("255.255.255.0"))
    )
    assert said()[-1] == (
        "virtual service tcp 10.20.0.100:80: no options -> persistent 300 s, mask 255.255.255.0"
    )
    assert desk.weights() == weights


# Stop.


def test_stop_deletes_the_services_with_cleanstop_and_leaves_the_others(desk):
    desk.start(
        CF + "\nvirtual=10.20.0.100:8080\n\treal=10.20.0.11:80 masq\n\tservice=http\n"
        "\tcleanstop=no\n"
    )
    assert desk.director.stop()
    assert [key.port for key in desk.engine.table.services] == [8080]
    assert [key.port for key in desk.ownership.services] == [8080]


def test_an_engine_that_refuses_at_the_stop_is_told(desk, said):
    desk.start()
    desk.engine.refusal = DataplaneError("map update", "planted")
    assert not desk.director.stop()
    assert said()[-1] == "services are left in the table: map update: planted"


# Engines that fail.


def test_a_start_that_fails_leaves_the_table_as_it_was(desk):
    class FailsAtTheFallback(MemoryEngine):
        def apply(self, changes):
            for change in changes:
                if isinstance(change, EditRealServer) or "127.0.0.1" in str(change):
                    raise DataplaneError("map update", "planted")
                super().apply([change])

    engine = FailsAtTheFallback()
    director = Director(engine, desk.ownership, desk.checks, lambda: None, Journal().heard)
    with pytest.raises(DataplaneError):
        director.start(parse(CF, "lb.cf"))
    assert any(isinstance(change, AddService) for change in engine.applied)
    assert len(engine.table) == 0


def test_a_refusing_engine_is_told_once_and_tried_again(desk, said):
    desk.start()
    desk.engine.refusal = DataplaneError("map update", "planted", 12)
    desk.hear("10.20.0.11", GOOD, converge=False)
    assert not desk.director.converge()
    assert not desk.director.converge()
    lines = said()
    assert lines[-2].endswith("10.20.0.11:80 of tcp 10.20.0.100:80 is up: status 200")
    assert lines[-1].startswith("the table is not as wanted")
    assert desk.weights()["10.20.0.11"] == 0
    desk.engine.refusal = None
    assert desk.director.converge()
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 0}
    assert said()[-1] == "the table is as wanted again"
    assert any(line.endswith("of tcp 10.20.0.100:80: weight 0 -> 2") for line in said())


def test_one_bad_service_does_not_hold_up_the_others(desk):
    class HasNoLc(MemoryEngine):
        def schedulers(self):
            return super().schedulers() - {"lc"}

    engine = HasNoLc()
    director = Director(engine, desk.ownership, desk.checks, lambda: None, Journal().heard)
    director.start(parse("", "lb.cf"))
    bad = CF.replace(":80\n", ":70\n", 1) + "    scheduler=lc\n    service=none\n"
    director.use(parse(bad + CF.partition("1\n")[2], "lb.cf"))
    assert not director.converge()
    assert not director.converge()
    assert [str(key) for key in engine.table.services] == [str(WEB)]


def test_a_scheduler_that_the_engine_lacks_ends_the_start(desk):
    class HasNothing(MemoryEngine):
        def schedulers(self):
            return frozenset()

    director = Director(HasNothing(), desk.ownership, desk.checks, lambda: None, Journal().heard)
    with pytest.raises(UnknownScheduler):
        director.start(parse(CF, "lb.cf"))


def test_a_crash_inside_is_logged_and_ends_nothing(desk, said):
    desk.start()
    desk.engine.refusal = ZeroDivisionError("planted")
    desk.hear("10.20.0.11", GOOD, converge=False)
    assert not desk.director.converge()
    desk.engine.refusal = None
    assert desk.director.converge()
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 0}


def test_equal_checks_in_two_services_are_told_for_each(desk, said):
    desk.start(CF + "\nvirtual=10.20.0.101:80\n\treal=10.20.0.11:80 gate 9\n")
    desk.hear("10.20.0.11", GOOD)
    assert [line for line in said() if "10.20.0.11:80" in line and "is up" in line] == [
        "real server 10.20.0.11:80 of tcp 10.20.0.100:80 is up: status 200; weight 0 -> 2",
        "real server 10.20.0.11:80 of tcp 10.20.0.101:80 is up: status 200; weight 0 -> 9",
    ]


def test_checktype_on_is_up_at_once_and_off_is_out_of_the_table_until_somebody_puts_it_in(desk):
    desk.start(CF + "    checktype=off\n")
    assert desk.weights() == {"10.20.0.11": 0, "10.20.0.12": 0, "127.0.0.1": 1}
    desk.use(CF + "    checktype=on\n")
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 2}


def test_checktype_off_leaves_whom_it_finds_with_weight_as_the_real_program_does(desk):
    desk.start(CF + "    checktype=on\n")
    desk.edit("10.20.0.12", weight=0)
    desk.use(CF + "    checktype=off\n")
    assert desk.weights() == {"10.20.0.11": 2, "10.20.0.12": 0}
    assert desk.director.standings.fallback_is_on(WEB) is False
