"""`onevip sysctl -w` and `ipvsadm --set`, as packets feel them: from the next one on."""

from __future__ import annotations

import pytest

from packet.stage import SCTP, UDP, Stage

STACK = "left alone"


def serve(stage: Stage, how: str = "-m", option: str = "-t") -> None:
    stage(f"-A {option} VIP:80 -s rr")
    stage(*(f"-a {option} VIP:80 -r RS{number}:80 {how}" for number in (1, 2)))


# Who may begin.


def test_sloppy_tcp_takes_any_packet_but_a_reset(stage: Stage) -> None:
    serve(stage)
    assert stage.client("PA").verdict == STACK
    stage.sysctl("sloppy_tcp=1")
    assert stage.client("R").verdict == STACK
    assert stage.got("PA") == "RS2"
    assert stage.connections() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]
    assert stage.counts("RS2:80") == (1, 0)
    stage.client("FA", 40001)
    assert "TCP 00:10 CLOSE CLIENT:40001 VIP:80 RS1:80" in stage.connections()
    stage.sysctl("sloppy_tcp=0")
    assert stage.client("PA", 40002).verdict == STACK


def test_sloppy_sctp_takes_any_chunk_but_an_abort(stage: Stage) -> None:
    serve(stage, option="--sctp-service")
    data, abort = (0,), (6,)
    assert stage.client(data, over=SCTP).verdict == STACK
    stage.sysctl("sloppy_sctp=1")
    assert stage.client(abort, over=SCTP).verdict == STACK
    assert stage.got(data, over=SCTP) == "RS2"
    assert stage.connections() == ["SCTP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]
    cookie_and_abort = (10, 6)  # only the first chunk is asked
    assert stage.got(cookie_and_abort, 40001, over=SCTP) == "RS1"


# States.


def test_under_secure_tcp_only_the_server_establishes(stage: Stage) -> None:
    serve(stage)
    stage.sysctl("secure_tcp=3")
    stage.client("S")
    stage.client("A")
    assert stage.connections() == ["TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 RS2:80"]
    stage.server("SA", by="RS2")
    assert stage.connections() == ["TCP 02:00 SYNACK CLIENT:40000 VIP:80 RS2:80"]
    stage.client("A")
    assert stage.connections() == ["TCP 02:00 SYNACK CLIENT:40000 VIP:80 RS2:80"]
    stage.server("A", by="RS2")
    assert stage.connections() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]


def test_secure_tcp_by_gate_begins_in_synack(stage: Stage) -> None:
    serve(stage, "-g")
    stage.sysctl("secure_tcp=3")
    stage.client("S")
    assert stage.connections() == ["TCP 02:00 SYNACK CLIENT:40000 VIP:80 RS2:80"]
    stage.client("A")
    assert stage.connections() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]


def test_secure_tcp_1_waits_for_need(stage: Stage) -> None:
    serve(stage)
    stage.sysctl("secure_tcp=1")
    stage.wait(1)
    stage.client("S")
    stage.client("A")
    assert stage.connections() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]


# Client ports that are used again.

OVER = {"TIME_WAIT": ("S", "sa", "A", "FA", "fa", "A"), "CLOSE": ("S", "sa", "A", "R")}


def live(stage: Stage, flags: tuple[str, ...]) -> None:
    """Capitals come from the client, the rest from RS2."""
    for word in flags:
        if word.isupper():
            stage.client(word)
        else:
            stage.server(word.upper(), by="RS2")


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize(("mode", "server"), [(0, "RS2"), (1, "RS1"), (2, "RS1")])
def test_a_connection_that_is_over_is_replaced(
    stage: Stage, state: str, mode: int, server: str
) -> None:
    serve(stage)
    stage.sysctl(f"conn_reuse_mode={mode}")
    live(stage, OVER[state])
    assert stage.connections()[0].split()[2] == state
    assert stage.got("S") == server
    assert stage.connections() == [f"TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 {server}:80"]
    assert stage.counts(f"{server}:80") == (1, 0)
    assert sum(map(sum, (stage.counts("RS1:80"), stage.counts("RS2:80")))) == 1


@pytest.mark.parametrize("mode", [1, 2])
def test_fin_wait_of_a_server_that_was_seen_is_not_over(stage: Stage, mode: int) -> None:
    serve(stage)
    stage.sysctl(f"conn_reuse_mode={mode}")
    live(stage, ("S", "sa", "A", "fa"))
    assert stage.connections() == ["TCP 02:00 FIN_WAIT CLIENT:40000 VIP:80 RS2:80"]
    assert stage.got("S") == "RS2"
    assert stage.totals("RS2:80")[0] == 1


@pytest.mark.parametrize("flags", ["S", "SA"])
def test_what_is_open_is_never_replaced(stage: Stage, flags: str) -> None:
    serve(stage)
    stage.sysctl("conn_reuse_mode=2")
    stage.establish()
    assert stage.got(flags) == "RS2"
    assert stage.connections() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]


# ipvsadm --set.


def test_set_holds_at_once_for_those_that_are_there(stage: Stage) -> None:
    serve(stage, "-g")
    serve(stage, "-g", "-u")
    stage.establish(40000)
    stage.establish(40001)
    stage.client("FA", 40001)
    stage.client(over=UDP)
    stage("--set 100 20 30")
    assert stage.connections() == [
        "TCP 00:20 FIN_WAIT CLIENT:40001 VIP:80 RS1:80",
        "TCP 01:40 ESTABLISHED CLIENT:40000 VIP:80 RS2:80",
        "UDP 00:30 UDP CLIENT:40000 VIP:80 RS2:80",
    ]
    assert stage("-L --timeout") == "Timeout (tcp tcpfin udp): 100 20 30\n"
    stage.wait(21)
    assert len(stage.connections()) == 2
    stage.wait(10)
    assert stage.connections() == ["TCP 01:09 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]
    stage("--set 0 0 7")
    assert stage("-L --timeout") == "Timeout (tcp tcpfin udp): 100 20 7\n"
