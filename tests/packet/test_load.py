"""Weight 0, thresholds, and real servers that leave and come back."""

from __future__ import annotations

import pytest

from packet.stage import Stage

SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "lblc", "lblcr", "sh", "dh", "mh"
)  # fmt: skip
BY_HASH = {"sh", "dh", "mh"}  # these refuse a client rather than give it another server
BY_DESTINATION = {"dh", "lblc", "lblcr"}  # which is the VIP, in all of these tests


def serve(stage: Stage, *servers: str, scheduler: str = "rr") -> None:
    """A web service and its real servers in this order, each with what -a takes."""
    stage(f"-A -t VIP:80 -s {scheduler}", *(f"-a -t VIP:80 -r {server}" for server in servers))


def got(stage: Stage, count: int, port: int) -> list[str | None]:
    """Whom so many connections get, of three clients in turn."""
    clients = ("CLIENT", "NEIGHBOUR", "STRANGER")
    return [stage.got("S", port + nr, clients[nr % 3]) for nr in range(count)]


def end(stage: Stage, *ports: int) -> None:
    """Those connections of CLIENT end; others stay."""
    for port in ports:
        stage.client("R", port)
    stage.wait(11)


# Weight 0.


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_quiescent_server_keeps_what_it_has_and_gets_nothing(
    stage: Stage, scheduler: str
) -> None:
    serve(stage, "RS1:80 -g", scheduler=scheduler)
    assert stage.establish() == "RS1"
    stage("-e -t VIP:80 -r RS1:80 -g -w 0", "-a -t VIP:80 -r RS2:80 -g -w 9")
    others = {None, "RS2"} if scheduler in BY_HASH else {"RS2"}
    assert set(got(stage, 9, 41000)) <= others
    assert stage.got("PA") == "RS1"
    assert stage.counts() == (1, 0)


def test_a_syn_on_a_quiescent_servers_connection_is_scheduled_anew_when_asked_for(
    stage: Stage,
) -> None:
    """expire_nodest_conn=1, in whatever state it is."""
    serve(stage, "RS1:80 -g", "RS2:80 -g")
    assert stage.establish() == "RS2"
    stage("-e -t VIP:80 -r RS2:80 -g -w 0")
    assert stage.got("S") == "RS2"
    stage.sysctl("expire_nodest_conn=1")
    assert stage.got("PA") == "RS2"
    assert stage.got("S") == "RS1"
    assert stage.connections() == ["TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 RS1:80"]


# Thresholds.


@pytest.mark.parametrize("scheduler", [one for one in SCHEDULERS if one != "lblc"])
def test_a_scheduler_sees_an_overload_and_its_end(stage: Stage, scheduler: str) -> None:
    serve(stage, "RS1:80 -g -w 10 -x 1", scheduler=scheduler)
    assert stage.establish() == "RS1"
    stage("-a -t VIP:80 -r RS2:80 -g -w 9")
    others = {None, "RS2"} if scheduler in BY_HASH else {"RS2"}
    assert set(got(stage, 9, 41000)) <= others
    assert stage.counts() == (1, 0)
    stage.wait(61)  # the SYNs are forgotten
    end(stage, 40000)
    again = got(stage, 9, 42000)
    if scheduler not in BY_DESTINATION:
        assert again.count("RS1") == 1


def test_lblc_keeps_its_server_though_it_is_overloaded(stage: Stage) -> None:
    """As the kernel does: it asks only when it looks for a new one (spec ipvs 4.6)."""
    serve(stage, "RS1:80 -g -x 1", scheduler="lblc")
    assert stage.establish() == "RS1"
    stage("-a -t VIP:80 -r RS2:80 -g -w 9")
    assert stage.got("S", 40001) == "RS1"
    stage("-e -t VIP:80 -r RS1:80 -g -x 1 -w 0")
    assert stage.got("S", 40002) == "RS2"


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_a_fallback_takes_those_whose_server_is_overloaded(stage: Stage, scheduler: str) -> None:
    stage(f"-A -t VIP:80 -s {scheduler} -b {scheduler}-fallback")
    stage("-a -t VIP:80 -r RS1:80 -g -x 1")
    assert stage.establish() == "RS1"
    stage("-a -t VIP:80 -r RS2:80 -g")
    assert set(got(stage, 9, 41000)) == {"RS2"}


def test_nobody_is_left_when_all_are_full(stage: Stage) -> None:
    serve(stage, "RS1:80 -g -x 1", "RS2:80 -g -x 2")
    assert sorted(map(str, got(stage, 3, 41000))) == ["RS1", "RS2", "RS2"]
    assert stage.client("S").is_refusal


def test_a_threshold_that_is_raised_or_gone_ends_an_overload_at_once(stage: Stage) -> None:
    serve(stage, "RS1:80 -g -x 1")
    assert stage.got("S") == "RS1"
    assert stage.got("S", 40001) is None
    stage("-e -t VIP:80 -r RS1:80 -g -x 2")
    assert [stage.got("S", port) for port in (40002, 40003)] == ["RS1", None]
    stage("-e -t VIP:80 -r RS1:80 -g")
    assert [stage.got("S", port) for port in (40004, 40005)] == ["RS1", "RS1"]


def test_a_threshold_that_is_lowered_is_felt_by_the_next_connection(stage: Stage) -> None:
    serve(stage, "RS1:80 -g -x 5")
    for port in range(40000, 40003):
        stage.establish(port)
    stage("-e -t VIP:80 -r RS1:80 -g -x 2")
    assert [stage.got("S", port) for port in (41000, 41001)] == ["RS1", None]


def test_a_lower_threshold_above_the_upper_one_is_refused(stage: Stage) -> None:
    serve(stage)
    assert stage.refusal("-a -t VIP:80 -r RS1:80 -g -x 2 -y 3")
    assert stage.refusal("-a -t VIP:80 -r RS1:80 -g -y 1")
    assert stage.table() == {}


def test_inactive_connections_count_for_a_threshold(stage: Stage) -> None:
    serve(stage, "RS1:80 -g -x 2")
    for flags in ("S", "A", "FA"):
        stage.client(flags)
    assert stage.counts() == (0, 1)
    assert stage.got("S", 40001) == "RS1"
    assert stage.got("S", 40002) is None


# Leaving and coming back.


@pytest.mark.parametrize("how", ["-g", "-m"])
def test_a_server_comes_back_with_its_connections_and_counts(stage: Stage, how: str) -> None:
    serve(stage, f"RS1:80 {how}", f"RS2:80 {how}")
    for port in range(40000, 40004):
        stage.establish(port)
    stage.client("FA", 40000)
    counts, totals = stage.counts("RS2:80"), stage.totals("RS2:80")
    stage("-d -t VIP:80 -r RS2:80")
    assert stage.client("A", 40002).verdict == "dropped"
    stage(f"-a -t VIP:80 -r RS2:80 {how} -w 5")
    assert stage.table()["RS2:80"] == (5, *counts)
    assert stage.totals("RS2:80") == totals


@pytest.mark.parametrize("how", ["-d -t VIP:80 -r RS1:80", "-D -t VIP:80"])
def test_replies_of_a_deleted_server_pass_and_are_not_counted(stage: Stage, how: str) -> None:
    serve(stage, "RS1:80 -m")
    stage.establish()
    stage.server("PA")
    totals = stage.totals()
    stage(how)
    for _ in range(3):
        assert stage.server("PA").seen.source == "10.0.0.100"
    is_new = how.startswith("-D")
    if is_new:
        stage("-A -t VIP:80 -s rr")
    stage("-a -t VIP:80 -r RS1:80 -m")
    assert stage.totals() == totals
    assert stage.totals("VIP:80") == ((0, 0, 0, 0, 0) if is_new else totals)
    stage.server("PA")
    assert stage.totals()[2] == totals[2] + 1


@pytest.mark.parametrize("how", ["-C", "-D -t VIP:80"])
def test_a_rebuilt_table_finds_its_connections(stage: Stage, how: str) -> None:
    serve(stage, "RS1:80 -m", "RS2:80 -m", scheduler="wlc")
    for port in range(40000, 40004):
        stage.establish(port)
    totals = stage.totals()
    stage(how)
    assert stage.client("A").verdict == "dropped"
    assert len(stage.listed()) == 4
    serve(stage, "RS1:80 -m", "RS2:80 -m", scheduler="wlc")
    assert stage.table() == {"RS1:80": (1, 2, 0), "RS2:80": (1, 2, 0)}
    assert stage.totals() == totals
    stage("-a -t VIP:80 -r RS3:80 -m")
    assert [stage.establish(port) for port in (41000, 41001)] == ["RS3", "RS3"]  # it has fewer
    assert stage.got("A") == "RS2"


def test_connections_of_a_table_that_is_gone_end_in_their_time(stage: Stage) -> None:
    serve(stage, "RS1:80 -m")
    stage.client("S")
    stage("-C")
    stage.wait(61)
    assert stage.listed() == []


def test_an_idle_server_that_comes_back_within_two_minutes_has_its_totals(stage: Stage) -> None:
    serve(stage, "RS1:80 -g")
    stage.establish()
    end(stage, 40000)
    totals = stage.totals()
    stage("-d -t VIP:80 -r RS1:80")
    stage.wait(100)
    stage("-a -t VIP:80 -r RS1:80 -g")
    assert stage.totals() == totals
    stage("-d -t VIP:80 -r RS1:80")
    stage.wait(181)
    stage("-a -t VIP:80 -r RS1:80 -g")
    assert stage.totals() == (0, 0, 0, 0, 0)


def test_one_server_in_two_services_is_two(stage: Stage) -> None:
    serve(stage, "RS1:80 -m")
    stage("-A -t VIP:8080 -s rr", "-a -t VIP:8080 -r RS1:80 -m")
    stage.establish()
    stage("-d -t VIP:80 -r RS1:80")
    assert stage.client("A").verdict == "dropped"
    assert stage.got("S", to=8080) == "RS1"
    assert stage.counts() == (1, 0)  # of the other service alone


def test_connections_keep_the_method_that_they_began_with(stage: Stage) -> None:
    serve(stage, "RS1:80 -m")
    stage.establish()
    stage("-e -t VIP:80 -r RS1:80 -g")
    assert stage.client("A").seen.destination == "10.1.0.10"
    assert stage.client("S", 40001).seen.destination == "10.0.0.100"
