"""The tables of states are whole, everybody's, and what spec ipvs §3 says of typical lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onevip.engines.bpf.loader import clock_units, timeout_units
from onevip.engines.bpf.shapes import SctpState, TcpState
from onevip.model import Protocol, Timeouts
from onevip.model.connection import STATES
from onevip.model.states import (
    MACHINES,
    SCTP,
    SCTP_CHUNK_EVENTS,
    SECURE_TCP,
    TCP,
    UDP,
    Direction,
    StateMachine,
    _machine,
)

ROOT = Path(__file__).parents[2]
IN, OUT, IN_ONLY = Direction


def life(machine: StateMachine, *packets: tuple[Direction, str]) -> list[str]:
    """The states that packets lead to, one after the other, from NONE."""
    state, states = machine.states[0], []
    for direction, event in packets:
        state = machine.after(state, direction, event)
        states.append(state.name)
    return states


def test_header_and_page_are_what_the_tables_generate() -> None:
    script = ROOT / "scripts" / "generate_states.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_states_are_numbered_as_in_the_headers() -> None:
    assert [f"TCP_{state.name}" for state in TCP.states] == [
        TcpState(number).name for number in range(TcpState.TCP_STATES)
    ]
    assert len(SCTP.states) == SctpState.SCTP_STATES
    for state, place in (("NONE", "NONE"), ("INIT1", "INIT1"), ("C-ECHOED", "COOKIE_ECHOED"),
                         ("ESTABLISHED", "ESTABLISHED"), ("CLOSED", "CLOSED")):  # fmt: skip
        assert STATES[Protocol.SCTP].index(state) == SctpState[f"SCTP_{place}"]


def test_a_connection_in_an_active_state_counts_as_active() -> None:
    active = {
        protocol.name: {state.abbreviation for state in machine.states if state.is_active}
        for protocol, machine in MACHINES.items()
    }
    assert active == {"TCP": {"SS", "SR", "SA", "ES"}, "UDP": set(), "SCTP": {"ES"}}


def test_three_timeouts_are_set_by_name() -> None:
    changed = Timeouts(tcp_s=11, tcp_fin_s=12, udp_s=13)
    for machine in MACHINES.values():
        for state in machine.states:
            assert state.timeout_s(Timeouts()) == state.default_s
    moved = {
        s.name: s.timeout_s(changed) for s in TCP.states if s.timeout_s(changed) != s.default_s
    }
    assert moved == {"ESTABLISHED": 11, "FIN_WAIT": 12}
    assert [state.timeout_s(changed) for state in UDP.states] == [13]
    assert SCTP["ES"].timeout_s(changed) == 900


def test_the_loader_writes_sixteen_timeouts() -> None:
    units = timeout_units(SCTP, 250)
    assert units[SctpState.SCTP_ESTABLISHED] == clock_units(900, 250)
    assert units[SctpState.SCTP_REJECTED] == clock_units(4, 250)
    assert len(units) == len(timeout_units(TCP, 250)) == 16
    assert units[14:] == (0, 0)


def moved_twice_by(machine: StateMachine) -> set[str]:
    """Events that lead on from where they have led."""
    steps = machine.table.items()
    return {step[1] for step, to in steps if machine.after(to, step[0], step[1]) != to}


def test_the_same_packet_twice_moves_a_connection_once() -> None:
    """The xdp door hands a packet to tc after the connection has seen it, all but these chunks."""
    assert moved_twice_by(TCP) == moved_twice_by(SECURE_TCP) == set()
    assert moved_twice_by(SCTP) == {"init", "init-ack", "abort"}


def test_typical_lives_of_tcp() -> None:
    opening = (IN, "syn"), (OUT, "syn"), (IN, "ack")
    assert life(TCP, *opening) == ["SYN_RECV", "SYN_RECV", "ESTABLISHED"]
    assert life(TCP, *opening, (IN, "fin"), (OUT, "fin"), (IN, "ack"))[3:] == [
        "CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT",
    ]  # fmt: skip
    alone = (IN_ONLY, "syn"), (IN_ONLY, "ack"), (IN_ONLY, "fin"), (IN_ONLY, "ack")
    assert life(TCP, *alone) == ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT"]


def test_secure_tcp_believes_the_server_only() -> None:
    assert life(SECURE_TCP, (IN, "syn"), (IN, "ack")) == ["SYN_RECV", "SYN_RECV"]
    assert life(SECURE_TCP, (IN, "syn"), (OUT, "syn"), (OUT, "ack")) == [
        "SYN_RECV", "SYNACK", "ESTABLISHED",
    ]  # fmt: skip
    assert life(SECURE_TCP, (IN_ONLY, "syn"), (IN_ONLY, "ack")) == ["SYNACK", "ESTABLISHED"]


def test_typical_lives_of_sctp() -> None:
    assert life(SCTP, (IN, "init"), (OUT, "init-ack"), (IN, "c-echo"), (OUT, "c-ack")) == [
        "INIT1", "C-SENT", "C-REPLIED", "ESTABLISHED",
    ]  # fmt: skip
    assert life(SCTP, *((IN_ONLY, e) for e in ("init", "c-echo", "shut", "shut-cpl"))) == [
        "INIT1", "ESTABLISHED", "S-RECEIVED", "CLOSED",
    ]  # fmt: skip
    assert life(SCTP, *((IN_ONLY, e) for e in ("init", "c-echo", "shut-ack"))) == [
        "INIT1", "ESTABLISHED", "CLOSED",
    ]  # fmt: skip


def test_chunks_are_numbered_as_in_rfc_9260() -> None:
    numbers = {SCTP_CHUNK_EVENTS[n]: n for n in (0, 1, 2, 6, 7, 8, 9, 10, 11, 14)}
    assert numbers == {
        "data": 0, "init": 1, "init-ack": 2, "abort": 6, "shut": 7, "shut-ack": 8, "error": 9,
        "c-echo": 10, "c-ack": 11, "shut-cpl": 14,
    }  # fmt: skip
    assert numbers.keys() == set(SCTP.events)
    assert {SCTP_CHUNK_EVENTS[n] for n in (3, 4, 5, 12, 13)} == {"data"}


@pytest.mark.parametrize(
    "transitions",
    [
        "IN OUT\nsyn syn\nNO NO NO",
        "IN OUT IN_ONLY\nsyn syn syn\nNO NO NO",
        "IN OUT IN_ONLY\nsyn syn syn\nNO NO NO XX",
    ],
)
def test_a_table_with_a_hole_is_refused(transitions: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        _machine("NO NONE 2", transitions)
