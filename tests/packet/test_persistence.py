"""Persistence as its users know it: who stays with whom, for how long, and what ends it."""

from __future__ import annotations

import pytest

from packet.stage import UDP, Stage

GONE, STACK = "dropped", "left alone"


def persistent(stage: Stage, options: str = "-p 300", how: str = "-m") -> None:
    """A persistent web service of RS1 and RS2; the first template is RS2's."""
    stage(f"-A -t VIP:80 -s rr {options}")
    stage(*(f"-a -t VIP:80 -r RS{number}:80 {how}" for number in (1, 2)))


def test_a_client_stays_and_others_take_turns(stage: Stage) -> None:
    persistent(stage)
    assert [stage.got("S", port) for port in range(40000, 40005)] == ["RS2"] * 5
    assert stage.got("S", by="NEIGHBOUR") == "RS1"
    assert stage.got("S", by="STRANGER") == "RS2"
    assert (stage.persistent("RS1:80"), stage.persistent("RS2:80")) == (1, 2)


def test_a_netmask_makes_networks_of_clients(stage: Stage) -> None:
    persistent(stage, "-p 300 -M 255.255.255.0")
    assert stage.got("S") == stage.got("S", by="NEIGHBOUR") == "RS2"
    assert stage.got("S", by="STRANGER") == "RS1"
    assert stage.templates() == [
        "TCP 05:00 NONE 10.0.64.0:0 VIP:80 RS2:80", "TCP 05:00 NONE 10.0.65.0:0 VIP:80 RS1:80"
    ]  # fmt: skip
    assert "persistent 300 mask 255.255.255.0" in stage("-Ln")


def test_control_and_data_of_ftp_go_together(stage: Stage) -> None:
    stage("-A -t VIP:21 -s rr -p", *(f"-a -t VIP:21 -r RS{n}:21 -g" for n in (1, 2)))
    assert stage.got("S", by="STRANGER", to=21) == "RS2"
    assert stage.got("S", to=21) == "RS1"
    assert stage.got("S", 40001, to=20) == "RS1"  # active
    assert stage.got("S", 40002, to=50000) == "RS1"  # passive
    assert stage.templates() == [
        "TCP 06:00 NONE CLIENT:0 VIP:0 RS1:0", "TCP 06:00 NONE STRANGER:0 VIP:0 RS2:0"
    ]  # fmt: skip
    assert "TCP 01:00 SYN_RECV CLIENT:40002 VIP:50000 RS1:50000" in stage.connections()


def test_ftp_without_a_server_says_so_only_to_who_asked_for_ftp(stage: Stage) -> None:
    stage("-A -t VIP:21 -s rr -p", "-a -t VIP:21 -r RS1:21 -g -w 0")
    assert stage.client("S", to=21).is_refusal
    assert stage.client("S", to=50000).verdict == STACK
    assert stage.client("S", to=80).verdict == STACK
    assert stage.listed() == []


def test_a_connection_begins_the_templates_time_again_and_no_other_packet(stage: Stage) -> None:
    persistent(stage)
    stage.establish()
    stage.wait(200)
    stage.client("PA")
    assert stage.templates() == ["TCP 01:40 ASSURED CLIENT:0 VIP:80 RS2:80"]
    stage.client("S", 40001)
    assert stage.templates() == ["TCP 05:00 ASSURED CLIENT:0 VIP:80 RS2:80"]


def test_a_template_that_outlived_its_time_has_minutes_from_then_on(stage: Stage) -> None:
    persistent(stage, "-p 50")
    stage.establish()
    stage.wait(50)
    assert stage.templates() == ["TCP 01:00 ASSURED CLIENT:0 VIP:80 RS2:80"]
    stage.wait(45)
    stage.client("S", 40001)
    assert stage.templates() == ["TCP 01:00 ASSURED CLIENT:0 VIP:80 RS2:80"]


def test_an_idle_template_ends_in_its_time(stage: Stage) -> None:
    persistent(stage)
    stage.establish()
    stage.client("R")
    stage.wait(299)
    assert stage.templates() == ["TCP 00:01 ASSURED CLIENT:0 VIP:80 RS2:80"]
    stage.wait(2)
    assert stage.listed() == []
    assert stage.persistent("RS2:80") == 0
    assert stage.got("S") == "RS1"


def test_an_edit_leaves_templates_the_time_that_they_began_with(stage: Stage) -> None:
    persistent(stage)
    stage.client("S")
    stage("-E -t VIP:80 -s rr -p 20")
    stage.client("S", by="NEIGHBOUR")
    stage.client("S", 40001)
    assert stage.templates() == [
        "TCP 00:20 NONE NEIGHBOUR:0 VIP:80 RS1:80", "TCP 05:00 NONE CLIENT:0 VIP:80 RS2:80"
    ]  # fmt: skip


def test_a_service_that_is_persistent_no_longer_asks_no_template(stage: Stage) -> None:
    persistent(stage)
    assert stage.got("S") == "RS2"
    stage("-E -t VIP:80 -s rr")
    assert [stage.got("S", port) for port in (40001, 40002)] == ["RS1", "RS2"]


# What ends it.


def test_a_deleted_servers_template_is_disabled_when_it_is_wanted(stage: Stage) -> None:
    """ldirectord's quiescent=no."""
    persistent(stage)
    assert stage.establish() == "RS2"
    stage("-d -t VIP:80 -r RS2:80")
    assert stage.templates() == ["TCP 05:00 ASSURED CLIENT:0 VIP:80 RS2:80"]
    assert stage.client("A").verdict == GONE  # the old connection's
    assert stage.establish(40001) == "RS1"
    assert stage.establish(40002) == "RS1"
    assert stage.templates() == [
        "TCP 05:00 ASSURED CLIENT:0 VIP:65535 RS2:65535",
        "TCP 05:00 ASSURED CLIENT:0 VIP:80 RS1:80",
    ]
    assert stage.client("A").verdict == GONE
    stage.wait(300)
    assert "TCP 01:00 ASSURED CLIENT:0 VIP:65535 RS2:65535" in stage.templates()


def test_expire_nodest_conn_ends_what_a_deleted_server_left(stage: Stage) -> None:
    persistent(stage)
    stage.sysctl("expire_nodest_conn=1")
    assert stage.establish() == stage.establish(40001) == "RS2"
    stage("-d -t VIP:80 -r RS2:80")
    assert stage.client("A").verdict == STACK
    assert stage.got("S") == "RS1"
    stage.wait(2)  # first the connections, then the template that is alone
    assert stage.listed() == [
        "TCP 00:58 SYN_RECV CLIENT:40000 VIP:80 RS1:80", "TCP 04:58 NONE CLIENT:0 VIP:80 RS1:80"
    ]  # fmt: skip


def test_a_server_that_is_back_in_time_has_its_clients_again(stage: Stage) -> None:
    persistent(stage)
    assert stage.establish() == "RS2"
    stage("-d -t VIP:80 -r RS2:80")
    stage.wait(200)
    stage("-a -t VIP:80 -r RS2:80 -m")
    assert stage.got("A") == "RS2"
    assert stage.got("S", 40001) == "RS2"
    assert stage.persistent("RS2:80") == 1


def test_a_quiescent_servers_template_is_given_up_when_asked_for(stage: Stage) -> None:
    persistent(stage)
    assert stage.establish() == "RS2"
    stage("-e -t VIP:80 -r RS2:80 -m -w 0")
    assert stage.got("S", 40001) == "RS2"
    stage.sysctl("expire_quiescent_template=1")
    assert stage.got("S", 40002) == "RS1"
    assert stage.got("A") == "RS2"
    disabled, used = stage.templates()
    assert disabled == "TCP 05:00 ASSURED CLIENT:0 VIP:65535 RS2:65535"
    assert used == "TCP 05:00 NONE CLIENT:0 VIP:80 RS1:80"


def test_nobody_else_there_is_a_refusal(stage: Stage) -> None:
    stage("-A -t VIP:80 -s rr -p 300", "-a -t VIP:80 -r RS1:80 -m")
    stage.establish()
    stage("-d -t VIP:80 -r RS1:80")
    assert stage.client("S", 40001).is_refusal
    assert stage.templates() == ["TCP 05:00 ASSURED CLIENT:0 VIP:65535 RS1:65535"]


# With others.


def test_a_template_comes_before_overload(stage: Stage) -> None:
    stage("-A -t VIP:80 -s rr -p 300", "-a -t VIP:80 -r RS1:80 -m")
    stage("-a -t VIP:80 -r RS2:80 -m -x 2")
    assert [stage.got("S", port) for port in range(40000, 40004)] == ["RS2"] * 4
    assert stage.got("S", by="NEIGHBOUR") == stage.got("S", by="STRANGER") == "RS1"
    assert stage.counts("RS2:80") == (4, 0)


def test_a_connection_under_a_template_is_not_replaced(stage: Stage) -> None:
    persistent(stage, how="-g")
    stage.sysctl("conn_reuse_mode=2")
    for flags in ("S", "A", "R"):
        stage.client(flags)
    assert stage.got("S") == "RS2"
    assert stage.totals("RS2:80")[0] == 1  # the same connection goes on
    assert stage.connections() == ["TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 RS2:80"]


@pytest.mark.parametrize("how", ["-g", "-m"])
def test_datagrams_one_by_one_of_one_client_stay_with_their_server(stage: Stage, how: str) -> None:
    stage("-A -u VIP:53 -s rr -o -p 300")
    stage(*(f"-a -u VIP:53 -r RS{number}:53 {how}" for number in (1, 2)))
    assert [stage.got(to=53, over=UDP) for _ in range(4)] == ["RS2"] * 4
    assert stage.got(by="STRANGER", to=53, over=UDP) == "RS1"
    assert stage.connections() == []
    assert stage.templates() == [
        "UDP 05:00 NONE CLIENT:0 VIP:53 RS2:53", "UDP 05:00 NONE STRANGER:0 VIP:53 RS1:53"
    ]  # fmt: skip
    assert stage.totals("RS2:53")[0] == 4
