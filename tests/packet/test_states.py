"""The kernel's TCP states and the counts of active and inactive connections, by real packets."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from onevip.engines.bpf.shapes import TcpState
from onevip.model import ForwardingMethod, Protocol
from packet.wire import (
    CLIENT,
    GATE,
    IPIP,
    MASQ,
    REAL,
    VIP,
    Director,
    eth,
    eth_back,
    ip4,
    tcp,
    udp,
)

# Spec ipvs §3.2 as it stands there: "·" stays. IN and OUT by masq, IO (in-only) by gate and ipip.
TABLE = """
state | IN syn | IN fin | IN ack | IN rst | OUT syn | OUT fin | OUT ack | OUT rst | IO syn | IO fin | IO ack | IO rst
NO | SR | CL | ES | CL | SS | TW | ES | CL | SR | CL | ES | CL
ES | · | CW | · | CL | · | FW | · | CL | · | FW | · | CL
SS | ES | · | · | CL | · | · | · | · | ES | · | · | CL
SR | · | TW | ES | · | · | TW | ES | CL | · | TW | ES | ·
FW | SR | TW | · | CL | SS | · | · | CL | SR | · | · | CL
TW | SR | · | · | CL | SS | · | · | · | SR | · | · | CL
CL | SR | · | · | · | SS | · | · | · | SR | · | · | ·
CW | SR | · | · | CL | SS | TW | · | CL | SR | · | · | CL
LA | SR | · | CL | · | SS | · | · | CL | SR | · | CL | ·
LI | SR | · | · | · | · | · | ES | CL | SR | · | · | ·
SA | SR | TW | ES | SR | SR | TW | ES | CL | SR | TW | ES | CL
"""  # noqa: E501
NAMES = {
    "NO": TcpState.TCP_NONE, "ES": TcpState.TCP_ESTABLISHED, "SS": TcpState.TCP_SYN_SENT,
    "SR": TcpState.TCP_SYN_RECV, "FW": TcpState.TCP_FIN_WAIT, "TW": TcpState.TCP_TIME_WAIT,
    "CL": TcpState.TCP_CLOSE, "CW": TcpState.TCP_CLOSE_WAIT, "LA": TcpState.TCP_LAST_ACK,
    "LI": TcpState.TCP_LISTEN, "SA": TcpState.TCP_SYNACK,
}  # fmt: skip
ACTIVE = {"SS", "SR", "SA", "ES"}
#: RST first, then SYN, then FIN, then ACK: what else a packet carries does not matter.
FLAGS = {
    "syn": ["S", "SA", "SFA", "SPUE"],
    "fin": ["F", "FA", "FPA"],
    "ack": ["A", "PA", "AU"],
    "rst": ["R", "RA", "RSFA"],
    "none": ["", "P", "U"],
}


def _parse() -> dict[tuple[str, str], dict[str, str]]:
    head, *rows = (line.split(" | ") for line in TABLE.strip().splitlines())
    table: dict[tuple[str, str], dict[str, str]] = {}
    for state, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            direction, event = column.split()
            table.setdefault((direction, event), {})[state] = state if cell == "·" else cell
    for direction in ("IN", "OUT", "IO"):  # no flag at all: CLOSE, whatever the state
        table[direction, "none"] = dict.fromkeys(NAMES, "CL")
    return table


NEXT = _parse()
Step = tuple[str, str]  # direction, event


def paths(directions: tuple[str, ...]) -> dict[str, list[Step]]:
    """The shortest way of packets from a SYN to each state that packets lead to."""
    found: dict[str, list[Step]] = {"SR": []}
    queue = deque(["SR"])
    while queue:
        state = queue.popleft()
        for (direction, event), cells in NEXT.items():
            reached = cells[state]
            reused = event == "syn" and state in ("TW", "CL")  # another connection: see below
            if direction in directions and reached not in found and not reused:
                found[reached] = [*found[state], (direction, event)]
                queue.append(reached)
    return found


def send(director: Director, direction: str, flags: str, port: int) -> None:
    if direction == "OUT":
        packet: Any = eth_back() / ip4(REAL, CLIENT) / tcp(80, port, flags)
    else:
        packet = eth() / ip4(CLIENT, VIP) / tcp(port, 80, flags)
    assert director(packet).name == "forwarded"


def state_of(director: Director, port: int) -> str:
    connection = director.connection(port)
    assert connection is not None
    name = next(name for name, state in NAMES.items() if state == connection.state)
    assert connection.active == (name in ACTIVE)
    return name


def test_the_table_is_whole() -> None:
    assert len(NEXT) == 3 * 5
    assert all(cells.keys() == NAMES.keys() for cells in NEXT.values())
    assert set(paths(("IN", "OUT"))) == {"SR", "ES", "SS", "FW", "TW", "CL", "CW"}
    assert set(paths(("IO",))) == {"SR", "ES", "FW", "TW", "CL"}


def test_the_same_packet_twice_moves_a_connection_once() -> None:
    """The xdp door hands a packet to tc after the connection has seen it: tc shows it again."""
    for cells in NEXT.values():
        for reached in cells.values():
            assert cells[reached] == reached


@pytest.mark.parametrize("event", FLAGS)
@pytest.mark.parametrize(
    ("direction", "method"),
    [("IN", MASQ), ("OUT", MASQ), ("IO", GATE), ("IO", IPIP)],
    ids=["IN", "OUT", "IN-ONLY gate", "IN-ONLY ipip"],
)
def test_every_state_that_packets_lead_to_goes_where_the_table_says(
    director: Director, direction: str, method: ForwardingMethod, event: str
) -> None:
    director.add_service()
    director.add(REAL, method)
    port = 40000
    active = inactive = 0
    for state, steps in paths(("IO",) if direction == "IO" else ("IN", "OUT")).items():
        for flags in FLAGS[event]:
            if event == "rst" and "S" in flags and state in ("TW", "CL"):
                continue  # asks for the port anew, and is refused: below
            port += 1
            send(director, "IN", "S", port)
            for way, what in steps:
                send(director, way, FLAGS[what][0], port)
            assert state_of(director, port) == state
            send(director, direction, flags, port)
            reached = NEXT[direction, event][state]
            assert state_of(director, port) == reached, (state, flags)
            active, inactive = active + (reached in ACTIVE), inactive + (reached not in ACTIVE)
            assert director.active_inactive() == (active, inactive)


@pytest.mark.parametrize("direction", ["IN", "OUT", "IO"])
@pytest.mark.parametrize("state", ["NO", "LA", "LI", "SA", "SS", "CW"])
def test_states_that_packets_do_not_lead_to(director: Director, state: str, direction: str) -> None:
    director.add_service()
    director.add(REAL, GATE if direction == "IO" else MASQ)
    send(director, "IN", "S", 40000)
    for event, flags in FLAGS.items():
        director.put_in_state(40000, NAMES[state], active=state in ACTIVE)
        send(director, direction, flags[0], 40000)
        reached = NEXT[direction, event][state]
        assert state_of(director, 40000) == reached
        assert director.active_inactive() == ((1, 0) if reached in ACTIVE else (0, 1))


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ("S", "SR"), ("SA", "SR"), ("SF", "SR"), ("SPU", "SR"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [MASQ, GATE, IPIP], ids=["masq", "gate", "ipip"])
def test_a_connection_begins_in_syn_recv(
    director: Director, method: ForwardingMethod, flags: str, state: str
) -> None:
    director.add_service()
    director.add(REAL, method)
    send(director, "IN", flags, 40000)
    assert state_of(director, 40000) == state
    assert director.active_inactive() == (1, 0)


# Typical lives (spec ipvs §3.2): who sends what, and the state, ActiveConn and InActConn after it.

LIVES = {
    "client closes first": (
        [("IN", "S", "SR"), ("OUT", "SA", "SR"), ("IN", "A", "ES"), ("IN", "PA", "ES"),
         ("OUT", "PA", "ES"), ("IN", "FA", "CW"), ("OUT", "A", "CW"), ("OUT", "FA", "TW"),
         ("IN", "A", "TW")],
        ["SR", "ES", "ES", "FW", "FW"],
    ),
    "server closes first": (
        [("IN", "S", "SR"), ("OUT", "SA", "SR"), ("IN", "A", "ES"), ("OUT", "FA", "FW"),
         ("IN", "A", "FW"), ("IN", "FA", "TW"), ("OUT", "A", "TW")],
        ["SR", "ES", "ES", "FW"],
    ),
    "a server's ACK establishes": ([("IN", "S", "SR"), ("OUT", "A", "ES")], ["SR"]),
    "client resets": (
        [("IN", "S", "SR"), ("OUT", "SA", "SR"), ("IN", "A", "ES"), ("IN", "RA", "CL")],
        ["SR", "ES", "CL"],
    ),
    "client resets before it is established": (
        [("IN", "S", "SR"), ("IN", "R", "SR")], ["SR", "SR"],
    ),
    "server refuses": ([("IN", "S", "SR"), ("OUT", "RA", "CL")], ["SR"]),
    "client and server in CLOSE": (
        [("IN", "S", "SR"), ("OUT", "RA", "CL"), ("IN", "A", "CL"), ("IN", "PA", "CL"),
         ("OUT", "A", "CL")],
        ["SR", "ES", "ES"],
    ),
    "data after TIME_WAIT": (
        [("IN", "S", "SR"), ("IN", "FA", "TW"), ("IN", "PA", "TW"), ("OUT", "PA", "TW")],
        ["SR", "TW", "TW"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("by_masq", "by_gate"), LIVES.values(), ids=LIVES)
def test_a_typical_life_by_masq(
    director: Director, by_masq: list[tuple[str, str, str]], by_gate: list[str]
) -> None:
    director.add_service()
    director.add(REAL, MASQ)
    for direction, flags, state in by_masq:
        send(director, direction, flags, 40000)
        assert state_of(director, 40000) == state
        assert director.active_inactive() == ((1, 0) if state in ACTIVE else (0, 1))


@pytest.mark.parametrize("method", [GATE, IPIP], ids=["gate", "ipip"])
@pytest.mark.parametrize(("by_masq", "by_gate"), LIVES.values(), ids=LIVES)
def test_the_same_life_seen_from_one_side(
    director: Director,
    by_masq: list[tuple[str, str, str]],
    by_gate: list[str],
    method: ForwardingMethod,
) -> None:
    director.add_service()
    director.add(REAL, method)
    from_client = [flags for direction, flags, _ in by_masq if direction == "IN"]
    for flags, state in zip(from_client, by_gate, strict=True):
        send(director, "IN", flags, 40000)
        assert state_of(director, 40000) == state
        assert director.active_inactive() == ((1, 0) if state in ACTIVE else (0, 1))


@pytest.mark.parametrize("method", [MASQ, GATE, IPIP], ids=["masq", "gate", "ipip"])
def test_udp_is_always_inactive(director: Director, method: ForwardingMethod) -> None:
    director.add_service(protocol=Protocol.UDP)
    director.add(REAL, method)
    for _ in range(3):
        director(eth() / ip4(CLIENT, VIP) / udp(5000, 80) / b"data")
        if method == MASQ:
            reply = eth_back() / ip4(REAL, CLIENT) / udp(80, 5000) / b"data"
            assert director(reply).name == "forwarded"
        connection = director.connection(5000)
        assert connection is not None
        assert (connection.state, connection.active) == (0, False)
        assert director.active_inactive() == (0, 1)
    assert director.counters().connections == 1
