"""What a user of LVS would try first: the checklist of spec ipvs 12.2, by its numbers.

Each test is a row: packets go through the programs of both doors, edits through the commands, and
what came of it is read as an administrator reads it.
"""

from __future__ import annotations

import pytest

from packet.stage import SCTP, TCP, UDP, Stage

GONE = "dropped"
STACK = "left alone"


def serve(stage: Stage, how: str = "-g", servers: int = 1, scheduler: str = "rr") -> None:
    """A web service whose real servers are RS1, RS2 …, added in this order."""
    stage(f"-A -t VIP:80 -s {scheduler}")
    for number in range(1, servers + 1):
        stage(f"-a -t VIP:80 -r RS{number}:80 {how}")


def test_1_a_syn_is_active_for_a_minute(stage: Stage) -> None:
    serve(stage)
    stage.client("S")
    assert stage.listed() == ["TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (1, 0)
    stage.wait(59)
    assert stage.counts() == (1, 0)
    stage.wait(2)
    assert stage.listed() == []
    assert stage.counts() == (0, 0)


@pytest.mark.parametrize("how", ["-g", "-i"])
def test_2_a_client_that_closes_is_inactive_for_two_minutes(stage: Stage, how: str) -> None:
    serve(stage, how)
    for flags in ("S", "A", "FA"):
        stage.client(flags)
    assert stage.listed() == ["TCP 02:00 FIN_WAIT CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (0, 1)
    stage.client("A")
    assert stage.listed() == ["TCP 02:00 FIN_WAIT CLIENT:40000 VIP:80 RS1:80"]


def test_3_masq_sees_both_sides_close(stage: Stage) -> None:
    serve(stage, "-m")
    stage.client("S")
    stage.server("SA")
    stage.client("A")
    assert stage.listed() == ["TCP 15:00 ESTABLISHED CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (1, 0)
    stage.client("FA")
    assert stage.listed() == ["TCP 01:00 CLOSE_WAIT CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (0, 1)
    stage.server("FA")
    stage.client("A")
    assert stage.listed() == ["TCP 02:00 TIME_WAIT CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (0, 1)


@pytest.mark.parametrize("how", ["-g", "-i", "-m"])
def test_4_a_client_that_resets_is_gone_in_ten_seconds(stage: Stage, how: str) -> None:
    serve(stage, how)
    stage.establish()
    stage.client("R")
    assert stage.listed() == ["TCP 00:10 CLOSE CLIENT:40000 VIP:80 RS1:80"]
    assert stage.counts() == (0, 1)
    stage.wait(11)
    assert stage.listed() == []


def test_5_an_ack_out_of_nowhere_is_for_the_directors_own_stack(stage: Stage) -> None:
    serve(stage)
    for flags in ("A", "PA", "FA", "R", "RA", "SR", ""):
        assert stage.client(flags).verdict == STACK, flags
    assert stage.listed() == []
    assert stage.totals() == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("over", [TCP, UDP, SCTP])
def test_6_nobody_there_is_told_by_icmp(stage: Stage, over: int) -> None:
    option, says = {TCP: ("-t", "S"), UDP: ("-u", ""), SCTP: ("--sctp-service", (1,))}[over]
    stage(f"-A {option} VIP:80 -s rr", f"-a {option} VIP:80 -r RS1:80 -g -w 0")
    outcome = stage.client(says, over=over)
    assert outcome.is_refusal
    assert outcome.seen.source == "10.0.0.100"
    assert outcome.seen.destination == "10.0.64.7"
    assert stage.listed() == []
    assert stage.totals() == (0, 0, 0, 0, 0)


def test_7_a_udp_flow_is_never_active(stage: Stage) -> None:
    stage("-A -u VIP:53 -s rr", "-a -u VIP:53 -r RS1:53 -m")
    stage.client(to=53, over=UDP)
    for ask in (stage.client, stage.server):
        stage.wait(200)
        assert stage.listed() == ["UDP 01:40 UDP CLIENT:40000 VIP:53 RS1:53"]
        port = {"to": 53} if ask == stage.client else {"of": 53}
        assert ask(over=UDP, **port).verdict == "forwarded"
        assert stage.listed() == ["UDP 05:00 UDP CLIENT:40000 VIP:53 RS1:53"]
        assert stage.counts("RS1:53") == (0, 1)
    stage.wait(301)
    assert stage.listed() == []


@pytest.mark.parametrize("how", ["-g", "-m"])
def test_8_packets_of_a_deleted_server_vanish_until_it_is_back(stage: Stage, how: str) -> None:
    serve(stage, how, servers=2)
    assert stage.establish() == "RS2"
    before = stage.totals("RS2:80")
    stage("-d -t VIP:80 -r RS2:80")
    stage.wait(100)
    for flags in ("A", "FA", "S", "R"):
        assert stage.client(flags).verdict == GONE, flags
    assert stage.listed() == ["TCP 13:20 ESTABLISHED CLIENT:40000 VIP:80 RS2:80"]
    stage(f"-a -t VIP:80 -r RS2:80 {how}")
    assert stage.counts("RS2:80") == (1, 0)
    assert stage.totals("RS2:80") == before
    assert stage.got("A") == "RS2"
    assert stage.totals("RS2:80")[:2] == (1, 3)


def test_9_expire_nodest_conn_lets_them_go(stage: Stage) -> None:
    serve(stage, "-m", servers=2)
    stage.sysctl("expire_nodest_conn=1")
    for port in (40000, 40002):
        assert stage.establish(port) == "RS2"
        assert stage.establish(port + 1) == "RS1"
    stage("-d -t VIP:80 -r RS2:80")
    assert stage.client("A").verdict == STACK  # which answers RST
    assert stage.got("S") == "RS1"
    stage.wait(1)  # nobody has to ask: the sweeper comes by
    assert stage.listed() == [
        "TCP 00:59 SYN_RECV CLIENT:40000 VIP:80 RS1:80",
        "TCP 14:59 ESTABLISHED CLIENT:40001 VIP:80 RS1:80",
        "TCP 14:59 ESTABLISHED CLIENT:40003 VIP:80 RS1:80",
    ]


def test_10_a_quiescent_server_keeps_its_persistent_clients(stage: Stage) -> None:
    stage("-A -t VIP:80 -s rr -p 50", "-a -t VIP:80 -r RS1:80 -m", "-a -t VIP:80 -r RS2:80 -m")
    assert stage.establish() == "RS2"
    stage("-e -t VIP:80 -r RS2:80 -m -w 0")
    assert stage.establish(40001) == "RS2"
    assert stage.establish(by="STRANGER") == "RS1"
    stage.sysctl("expire_quiescent_template=1")
    assert stage.establish(40002) == "RS1"
    assert stage.got("A", 40001) == "RS2"  # what is open goes on


@pytest.mark.parametrize(("options", "left"), [("-x 2", 1), ("-x 4", 2), ("-x 4 -y 2", 1)])
def test_11_a_full_server_gets_nothing_until_enough_has_ended(
    stage: Stage, options: str, left: int
) -> None:
    stage("-A -t VIP:80 -s rr", f"-a -t VIP:80 -r RS1:80 -g {options}")
    upper = int(options.split()[1])
    ports = range(40000, 40000 + upper)
    for port in ports:
        assert stage.establish(port) == "RS1"
    assert stage.client("S", 50000).is_refusal
    for open_now, port in zip(range(upper - 1, left, -1), ports, strict=False):
        end(stage, port)
        assert sum(stage.counts()) == open_now
        assert stage.client("S", 50000).is_refusal, f"{open_now} open"
    end(stage, ports[-1])
    assert sum(stage.counts()) == left
    assert stage.got("S", 50000) == "RS1"


def end(stage: Stage, port: int) -> None:
    """The connection of that client port is gone, and no other."""
    stage.client("R", port)
    stage.wait(11)


def test_12_a_template_lives_as_long_as_a_connection(stage: Stage) -> None:
    stage("-A -t VIP:80 -s rr -p 50", "-a -t VIP:80 -r RS1:80 -g", "-a -t VIP:80 -r RS2:80 -g")
    stage.establish()
    for _ in range(10):
        stage.wait(30)
        stage.client("A")
        ((_, left, *template),) = map(str.split, stage.templates())
        assert template == ["ASSURED", "CLIENT:0", "VIP:80", "RS2:80"]
        assert left <= "01:00"
    stage.client("R")
    stage.wait(71)  # 10 s of the connection, and at most a minute more
    assert stage.listed() == []
    assert stage.persistent("RS2:80") == 0


def test_13_every_port_of_a_protocol_goes_to_one_server(stage: Stage) -> None:
    stage("-A -t VIP:0 -s rr -p 50", "-A -u VIP:0 -s rr -p 50")
    for option in ("-t", "-u"):
        stage(f"-a {option} VIP:0 -r RS1:0 -m", f"-a {option} VIP:0 -r RS2:0 -m")
    assert stage.got("S", by="STRANGER", to=80) == "RS2"
    assert stage.got("S", to=80) == stage.got("S", to=443) == "RS1"
    assert stage.got(to=80, over=UDP) == "RS2"
    assert [line.split()[0] for line in stage.templates()] == ["TCP", "TCP", "UDP"]


def test_13_all_that_bears_a_mark_goes_to_one_server(tc_stage: Stage) -> None:
    tc_stage("-A -f 7 -s rr -p 50", "-a -f 7 -r RS1:0 -m", "-a -f 7 -r RS2:0 -m")
    assert tc_stage.got("S", by="STRANGER", mark=7) == "RS2"
    assert tc_stage.got("S", mark=7) == "RS1"
    assert tc_stage.got("S", to=443, vip="VIP2", mark=7) == "RS1"
    assert tc_stage.got(to=53, over=UDP, mark=7) == "RS1"
    assert tc_stage.templates() == [
        "IP 00:50 NONE CLIENT:0 0.0.0.7:0 RS1:0", "IP 00:50 NONE STRANGER:0 0.0.0.7:0 RS2:0"
    ]  # fmt: skip


def test_14_rr_begins_with_the_most_recently_added(stage: Stage) -> None:
    serve(stage, servers=3)
    got = [stage.got("S", port) for port in range(40000, 40006)]
    assert got == ["RS3", "RS2", "RS1", "RS3", "RS2", "RS1"]


@pytest.mark.parametrize(("mode", "server"), [(0, "RS2"), (1, "RS2"), (2, "RS1"), (3, "RS1")])
def test_17_a_client_port_used_again_in_fin_wait(stage: Stage, mode: int, server: str) -> None:
    serve(stage, "-g", servers=2)
    stage.sysctl(f"conn_reuse_mode={mode}")
    assert stage.establish() == "RS2"
    stage.client("FA")
    assert stage.got("S") == server
    assert stage.listed() == [f"TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 {server}:80"]
    assert stage.table() == {
        "RS1:80": (1, int(server == "RS1"), 0), "RS2:80": (1, int(server == "RS2"), 0)
    }  # fmt: skip


@pytest.mark.parametrize("how", ["-g", "-m"])
def test_18_each_datagram_to_the_next_server(stage: Stage, how: str) -> None:
    stage("-A -u VIP:53 -s rr -o", f"-a -u VIP:53 -r RS1:53 {how}")
    stage(f"-a -u VIP:53 -r RS2:53 {how}")
    got = [stage.got(to=53, over=UDP) for _ in range(10)]
    assert got == ["RS2", "RS1"] * 5
    assert stage.listed() == []
    for real in ("RS1:53", "RS2:53"):
        assert stage.totals(real)[:2] == (5, 5)
        assert stage.counts(real) == (0, 0)


def test_20_an_edit_without_words_is_weight_1_by_gate(stage: Stage) -> None:
    stage("-A -t VIP:80 -s rr", "-a -t VIP:80 -r RS1:80 -m -w 7")
    assert "-> RS1:80 Masq 7 0 0" in squeezed(stage("-Ln"))
    stage("-e -t VIP:80 -r RS1:80")
    assert "-> RS1:80 Route 1 0 0" in squeezed(stage("-Ln"))


def squeezed(listing: str) -> list[str]:
    return [" ".join(line.split()) for line in listing.splitlines()]


def test_22_a_new_server_gets_all_until_it_is_level(stage: Stage) -> None:
    serve(stage, servers=1, scheduler="lc")
    for port in range(40000, 40010):
        stage.establish(port)
    stage("-a -t VIP:80 -r RS2:80 -g")
    got = [stage.establish(port) for port in range(40010, 40050)]
    assert got[:11] == ["RS2"] * 11  # the eleventh by the tie: it was added last
    assert got[11:15] == ["RS1", "RS2", "RS1", "RS2"]
    assert stage.table() == {"RS1:80": (1, 25, 0), "RS2:80": (1, 25, 0)}


def test_24_sh_refuses_whose_server_is_quiescent(stage: Stage) -> None:
    serve(stage, servers=3, scheduler="sh")
    clients = ("CLIENT", "NEIGHBOUR", "STRANGER")
    got = {client: stage.got("S", by=client) for client in clients}
    quiet = got["CLIENT"]
    stage(f"-e -t VIP:80 -r {quiet}:80 -g -w 0")
    after = {client: stage.got("S", 40001, client) for client in clients}
    assert len(set(got.values())) > 1
    assert after == {client: None if real == quiet else real for client, real in got.items()}
