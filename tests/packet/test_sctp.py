"""SCTP by hand-made chunks: its states as `ipvsadm -Lcn` shows them, and its checksum."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck

from packet.network import BACK
from packet.stage import MACHINES, Stage
from packet.stage import SCTP as OVER
from packet.wire import eth, mac_of

DATA, INIT, INIT_ACK, HEARTBEAT, ABORT = 0, 1, 2, 4, 6
SHUTDOWN, SHUTDOWN_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 7, 8, 10, 11, 14


def serve(stage: Stage, how: str, servers: int = 1) -> None:
    stage("-A --sctp-service VIP:80 -s rr")
    for number in range(1, servers + 1):
        stage(f"-a --sctp-service VIP:80 -r RS{number}:80 {how}")


def shown(stage: Stage) -> tuple[str, tuple[int, int]]:
    """Time and state of the only connection, ActiveConn and InActConn."""
    (line,) = stage.connections()
    assert line.startswith("SCTP ")
    assert line.endswith(" CLIENT:40000 VIP:80 RS1:80")
    return " ".join(line.split()[1:3]), stage.counts()


def test_a_life_seen_from_the_client_alone(stage: Stage) -> None:
    serve(stage, "-g")
    for chunk, seen in (
        (INIT, ("00:04 INIT1", (0, 1))),
        (COOKIE_ECHO, ("15:00 ESTABLISHED", (1, 0))),
        (DATA, ("15:00 ESTABLISHED", (1, 0))),
        (HEARTBEAT, ("15:00 ESTABLISHED", (1, 0))),
        (SHUTDOWN, ("01:01 S-RECEIVED", (0, 1))),
        (SHUTDOWN_COMPLETE, ("01:01 CLOSED", (0, 1))),
    ):
        assert stage.client((chunk,), over=OVER).verdict == "forwarded"
        assert shown(stage) == seen
    stage.wait(62)
    assert stage.listed() == []
    assert stage.counts() == (0, 0)


def test_a_life_seen_from_both_sides(stage: Stage) -> None:
    serve(stage, "-m")
    for by, chunk, seen in (
        (stage.client, INIT, ("00:04 INIT1", (0, 1))),
        (stage.server, INIT_ACK, ("01:01 C-SENT", (0, 1))),
        (stage.client, COOKIE_ECHO, ("01:01 C-REPLIED", (0, 1))),
        (stage.server, COOKIE_ACK, ("15:00 ESTABLISHED", (1, 0))),
        (stage.client, DATA, ("15:00 ESTABLISHED", (1, 0))),
        (stage.server, SHUTDOWN, ("01:01 S-SENT", (0, 1))),
        (stage.client, SHUTDOWN_ACK, ("01:01 CLOSED", (0, 1))),
    ):
        assert by((chunk,), over=OVER).verdict == "forwarded"
        assert shown(stage) == seen


@pytest.mark.parametrize("how", ["-g", "-m"])
def test_only_an_init_begins(stage: Stage, how: str) -> None:
    serve(stage, how)
    for chunk in (DATA, INIT_ACK, COOKIE_ECHO, ABORT, SHUTDOWN, 192):
        assert stage.client((chunk,), over=OVER).verdict == "left alone", chunk
    assert stage.listed() == []


@pytest.mark.parametrize("chunks", [(ABORT,), (COOKIE_ECHO, ABORT)])
def test_an_abort_closes(stage: Stage, chunks: tuple[int, ...]) -> None:
    serve(stage, "-g")
    for says in ((INIT,), (COOKIE_ECHO,), chunks):
        stage.client(says, over=OVER)
    assert shown(stage) == ("01:01 CLOSED", (0, 1))


def test_an_init_on_a_closed_one_is_scheduled_anew(stage: Stage) -> None:
    serve(stage, "-g", servers=2)
    for chunk in (INIT, COOKIE_ECHO, ABORT):
        stage.client((chunk,), over=OVER)
    assert stage.got((INIT,), over=OVER) == "RS1"  # RS2's it was
    assert shown(stage) == ("00:04 INIT1", (0, 1))


def test_masq_changes_addresses_only_and_the_checksum_stays_right(stage: Stage) -> None:
    serve(stage, "-m")
    client, vip, real = (MACHINES[name] for name in ("CLIENT", "VIP", "RS1"))
    request = SCTP(sport=40000, dport=80) / SCTPChunkInit(init_tag=7)
    seen = Ether(stage.take(bytes(eth() / IP(src=client, dst=vip) / request)).frame)
    assert (seen[IP].src, seen[IP].dst, seen[IP].ttl) == (client, real, 63)
    assert_intact(seen, request)
    reply = SCTP(sport=80, dport=40000, tag=7) / SCTPChunkInitAck(init_tag=8)
    back = Ether(dst=BACK, src=mac_of(real)) / IP(src=real, dst=client) / reply
    seen = Ether(stage.take(bytes(back)).frame)
    assert (seen[IP].src, seen[IP].dst, seen[IP].ttl) == (vip, client, 63)
    assert_intact(seen, reply)


def assert_intact(seen: Ether, sent: SCTP) -> None:
    """All of SCTP as it was sent; its CRC32c, and the IP header's sum, as Scapy works them out."""
    assert bytes(seen[SCTP]) == bytes(sent)
    again = seen.copy()
    del again[IP].chksum, again[SCTP].chksum
    assert bytes(again) == bytes(seen)
    assert seen[SCTP].chksum != 0


def test_masq_to_another_port_is_refused_for_its_checksum(stage: Stage) -> None:
    stage("-A --sctp-service VIP:80 -s rr")
    assert "port" in stage.refusal("-a --sctp-service VIP:80 -r RS1:8080 -m")
    assert stage.table() == {}
