"""What `ldirectord` logs of events, and what -d adds; of changes: test_ldirectord_words.

Each expected line was seen in the log of Debian's ldirectord 1.186-ha.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from onevip import health
from onevip.command.ldirectord.debugging import Debugging
from onevip.command.ldirectord.journal import Journal
from onevip.config import parse
from onevip.daemon.events import (
    FileChanged,
    NotReloaded,
    Probed,
    Reloaded,
    Started,
    Stopped,
    Stopping,
    TableChanged,
)
from onevip.health import State, Verdict
from onevip.model import AddService, ConfigError, Configuration, OnevipError, Outcome, Phase, Table

CF = """\
failurecount=3
virtual=192.0.2.1:80
    real=198.51.100.7:8080 masq 2
    {}
virtual=192.0.2.2:80
    real=198.51.100.7:8080 masq 2
    {}
"""
UP, DOWN = Outcome(True, "status 200"), Outcome(False, "status 503")


def configured(*directives: str) -> Configuration:
    lines = "\n    ".join(directives or ('receive="ok"',))
    return parse(CF.format(lines, lines), "www.cf")


@pytest.fixture
def said(caplog):
    """What was logged since it was last asked."""
    caplog.set_level(logging.DEBUG, "onevip")

    def lines() -> list[str]:
        found = [f"{r.levelname}: {r.getMessage()}" for r in caplog.records]
        caplog.clear()
        return [line.removeprefix("INFO: ").removeprefix("DEBUG: ") for line in found]

    return lines


@pytest.fixture
def moves():
    return []


@pytest.fixture
def journal(moves):
    return Journal(moves.append)


def probed(
    configuration: Configuration, outcome: Outcome, before: State, after: State, probe: str = ""
) -> Probed:
    """The probe of the first service's real server, whose check the second shares."""
    check = configuration.services[0].real_servers[0].check
    rows = tuple((s.key, s.real_servers[0].real.key) for s in configuration.services)
    it = health.Probed(check, probe or check.probes[-1], outcome, before, after)
    return Probed(it, rows, configuration)


def state(verdict: Verdict, failures: int) -> State:
    return State(3, verdict=verdict, failures=failures)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ((Verdict.UP, 0), (Verdict.UP, 0), None),
        ((Verdict.UP, 0), (Verdict.UP, 1), "Soft failure real server: {} failure 1/3"),
        ((Verdict.UP, 1), (Verdict.UP, 2), "Soft failure real server: {} failure 2/3"),
        ((Verdict.UNPROVEN, 0), (Verdict.UNPROVEN, 1), "Soft failure real server: {} failure 1/3"),
        ((Verdict.UP, 2), (Verdict.DOWN, 3), None),  # the change of the table says it
        ((Verdict.DOWN, 3), (Verdict.DOWN, 4), None),
        ((Verdict.UP, 2), (Verdict.UP, 0), "Resetting soft failure count: {}"),
        ((Verdict.DOWN, 9), (Verdict.UP, 0), "Resetting soft failure count: {}"),
    ],
)
def test_failures_are_told_for_each_service_that_shares_the_check(
    journal, said, before, after, line
):
    outcome = DOWN if after[1] else UP
    journal.heard(probed(configured(), outcome, state(*before), state(*after)))
    places = [f"198.51.100.7:8080 (tcp:192.0.2.{n}:80)" for n in (1, 2)]
    assert said() == ([line.format(place) for place in places] if line else [])


def test_of_a_server_in_maintenance_no_failure_is_told(journal, said):
    """Who takes a server out may end it, too."""
    fails = probed(configured(), DOWN, state(Verdict.UP, 0), state(Verdict.UP, 1))
    rows = [f"198.51.100.7:8080 (tcp:192.0.2.{n}:80)" for n in (1, 2)]
    journal.heard(replace(fails, in_maintenance=fails.rows[:1]))
    assert said() == [f"Soft failure real server: {rows[1]} failure 1/3"]
    works = probed(configured(), UP, state(Verdict.UP, 1), state(Verdict.UP, 0))
    journal.heard(replace(works, in_maintenance=works.rows[1:]))
    assert said() == [f"Resetting soft failure count: {rows[0]}"]


def test_what_could_not_be_tried_is_no_soft_failure(journal, said):
    untried = Outcome(False, "no descriptors", tried=False)
    journal.heard(probed(configured(), untried, state(Verdict.UP, 1), state(Verdict.UP, 1)))
    assert said() == []


def test_a_changed_table_is_told_in_its_sentence(journal, said):
    configuration = configured()
    change = AddService(configuration.services[0].key, "wrr")
    journal.heard(TableChanged(change, Table.of(), Phase.STARTING, configuration, None))
    assert said() == ["Added virtual server: 192.0.2.1:80"]


def test_a_reload_by_signal(journal, said, moves):
    old, new = configured(), configured("checktype=on")
    journal.heard(Reloaded(new, old))
    assert said() == ["Reloading Linux Director Daemon config on signal"]
    assert moves == [new]


def test_a_reload_by_autoreload_is_none_by_signal(journal, said):
    old = replace(configured(), autoreload=True)
    journal.heard(FileChanged(old))
    journal.heard(Reloaded(old, old))
    journal.heard(Reloaded(old, old))
    assert said() == [
        "Configuration file 'www.cf' has changed on disk",
        " - reread new configuration",
        "Reloading Linux Director Daemon config on signal",
    ]


def test_without_autoreload_a_changed_file_is_ignored(journal, said):
    journal.heard(FileChanged(configured()))
    journal.heard(Reloaded(configured(), configured()))
    assert said() == [
        "Configuration file 'www.cf' has changed on disk",
        " - ignore new configuration",
        "Reloading Linux Director Daemon config on signal",
    ]


def test_a_broken_file_is_told_in_one_line(journal, said, moves):
    error = ConfigError("www.cf", 3, "Unknown command chektype=on", "checktype?")
    journal.heard(NotReloaded(configured(), error))
    reloading, words, last = said()
    assert reloading == "Reloading Linux Director Daemon config on signal"
    assert words.partition("] ")[2] == "reading file www.cf at line 3: Unknown command chektype=on"
    assert last == "ERROR: not reloaded, the last good configuration stays in force"
    assert moves == []


def test_services_of_another_daemon_are_told(journal, said):
    journal.heard(NotReloaded(configured(), OnevipError("belongs to another")))
    stays = "not reloaded, the last good configuration stays in force"
    assert said()[1:] == [f"ERROR: {stays}: belongs to another"]


def test_the_end_names_the_signal(journal, said):
    journal.heard(Started(configured()))
    journal.heard(Stopping(configured(), "INT"))
    journal.heard(Stopped(configured(), clean=True))
    assert said() == ["Linux Director Daemon terminated on signal: INT"]


def debugged(said, configuration: Configuration, outcome: Outcome, probe: str = "") -> list[str]:
    event = probed(configuration, outcome, state(Verdict.UP, 0), state(Verdict.UP, 0), probe)
    Debugging().heard(replace(event, rows=event.rows[:1]))
    return said()


@pytest.mark.parametrize(
    ("outcome", "done", "found", "word"),
    [(UP, "Enabled ", "200", "up"), (DOWN, "Disabled", "503", "down")],
)
def test_debugging_says_of_http_what_was_asked_and_found(said, outcome, done, found, word):
    ids = (
        r"real server=negotiate:http:tcp:198.51.100.7:8080:www.example.org::2:masq:\/a:ok "
        "(virtual=tcp:192.0.2.1:80)"
    )
    configuration = configured('request="a"', 'receive="ok"', 'virtualhost="www.example.org"')
    assert debugged(said, configuration, outcome) == [
        f"DEBUG2: Checking negotiate: {ids}",
        'DEBUG2: check_http: url="http://198.51.100.7:8080/a" virtualhost="www.example.org"',
        f"DEBUG2: Return status: {found}",
        f"DEBUG2: {done} {ids}",
        f"DEBUG2: check_http: http://198.51.100.7:8080/a is {word}",
    ]


def test_debugging_enables_no_server_in_maintenance(said):
    up = probed(configured(), UP, state(Verdict.UP, 0), state(Verdict.UP, 0))
    Debugging().heard(replace(up, in_maintenance=up.rows[1:]))
    done = [line.split()[1] for line in said() if " real server=" in line and "Check" not in line]
    assert done == ["Enabled", "Disabled"]


def test_debugging_says_of_a_probe_that_could_not_be_made_only_why(said):
    untried = Outcome(False, "the director is out of file descriptors", tried=False)
    assert debugged(said, configured(), untried)[-1].endswith("out of file descriptors")


@pytest.mark.parametrize("directive", ["service=http", "checktype=connect"])
def test_debugging_says_of_what_could_not_be_tried_neither_up_nor_down(said, directive):
    untried = Outcome(False, "no descriptors", tried=False)
    lines = debugged(said, configured(directive), untried)
    assert lines[-1].endswith(" 198.51.100.7:8080: not tried: no descriptors")
    assert not any(word in " ".join(lines) for word in ("abled", "is down", "activated"))


@pytest.mark.parametrize(
    ("directives", "url"),
    [
        ((), "http://198.51.100.7:8080/"),
        (("service=https",), "https://198.51.100.7:8080/"),
        (("checkport=81",), "http://198.51.100.7:81/"),
        (('request="http://other/a"',), "http://other/a"),
        (("service=http_proxy", 'request="other"'), "other"),
    ],
)
def test_debugging_names_the_url(said, directives, url):
    assert debugged(said, configured(*directives), UP)[-1] == f"DEBUG2: check_http: {url} is up"


@pytest.mark.parametrize(
    ("directives", "probe", "kind", "begun"),
    [
        (("checktype=connect",), "connect", "connect", None),
        (("checktype=3",), "connect", "combined-connect", None),
        (("checktype=3",), "http", "negotiate", "check_http: url="),
        (
            ("checktype=ping", "checktimeout=2", "checkcount=4"),
            "ping",
            "ping",
            'Checking ping: host="198.51.100.7" checktimeout="2" checkcount="4"',
        ),
        (
            ("service=dns", 'request="a.example"', 'receive="10"'),
            "dns",
            "negotiate",
            'Checking DNS: request="a.example" receive="10"',
        ),
        (
            ("service=imap", 'passwd="s3cr3t"', 'login="me"'),
            "imap",
            "negotiate",
            "Checking IMAP server=198.51.100.7 port=8080",
        ),
        (("checktype=external",), "external", "external", None),
    ],
)
def test_debugging_says_of_other_probes_what_they_do(said, directives, probe, kind, begun):
    lines = debugged(said, configured(*directives), UP, probe)
    assert lines[0].startswith(f"DEBUG2: Checking {kind}: real server=")
    assert begun is None or lines[1].startswith(f"DEBUG2: {begun}")
    assert len(lines) == (4 if begun is None else 5)
    assert "s3cr3t" not in "".join(lines)


@pytest.mark.parametrize(
    ("outcome", "last"),
    [
        (UP, "DEBUG3: Activated service 198.51.100.7:8080"),
        (DOWN, "DEBUG3: Deactivated service 198.51.100.7:8080: status 503"),
    ],
)
def test_debugging_ends_with_what_the_probe_means(said, outcome, last):
    assert debugged(said, configured("checktype=connect"), outcome)[-1] == last


def test_debugging_shows_the_command_of_each_change(said):
    configuration = configured()
    change = AddService(configuration.services[0].key, "wrr")
    Debugging().heard(TableChanged(change, Table.of(), Phase.STARTING, configuration, None))
    assert said() == ["Running system(/sbin/ipvsadm -A -t 192.0.2.1:80 -s wrr)"]
