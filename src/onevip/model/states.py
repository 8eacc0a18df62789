"""The kernel's states of TCP, UDP and SCTP: names, timeouts, and what a packet makes of each.

This is the one place of these tables (spec ipvs §3.2 to §3.4). scripts/generate_states.py makes
bpf/state_tables.h and docs/states.md of them.

In a table of states, a line is: abbreviation, name as `ipvsadm -Lc` shows it, seconds that a
connection lives in it without a packet, then `active` (counted as ActiveConn) and which of the
`Timeouts` (`ipvsadm --set`) sets those seconds. In a table of transitions, the state stands at the
left, the packet on top, "·" means: stays.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from onevip.model.service import Protocol, Timeouts


class Direction(enum.IntEnum):
    """Who sent a packet. IN_ONLY: a client whose replies the director never saw (gate, ipip)."""

    IN = 0
    OUT = 1
    IN_ONLY = 2


TCP_STATES = """
    NO  NONE           2
    ES  ESTABLISHED  900  active  tcp_s
    SS  SYN_SENT     120  active
    SR  SYN_RECV      60  active
    FW  FIN_WAIT     120  tcp_fin_s
    TW  TIME_WAIT    120
    CL  CLOSE         10
    CW  CLOSE_WAIT    60
    LA  LAST_ACK      30
    LI  LISTEN       120
    SA  SYNACK       120  active
"""

TCP_TRANSITIONS = """
        IN               OUT              IN_ONLY
        syn fin ack rst  syn fin ack rst  syn fin ack rst
    NO  SR  CL  ES  CL   SS  TW  ES  CL   SR  CL  ES  CL
    ES  ·   CW  ·   CL   ·   FW  ·   CL   ·   FW  ·   CL
    SS  ES  ·   ·   CL   ·   ·   ·   ·    ES  ·   ·   CL
    SR  ·   TW  ES  ·    ·   TW  ES  CL   ·   TW  ES  ·
    FW  SR  TW  ·   CL   SS  ·   ·   CL   SR  ·   ·   CL
    TW  SR  ·   ·   CL   SS  ·   ·   ·    SR  ·   ·   CL
    CL  SR  ·   ·   ·    SS  ·   ·   ·    SR  ·   ·   ·
    CW  SR  ·   ·   CL   SS  TW  ·   CL   SR  ·   ·   CL
    LA  SR  ·   CL  ·    SS  ·   ·   CL   SR  ·   CL  ·
    LI  SR  ·   ·   ·    ·   ·   ES  CL   SR  ·   ·   ·
    SA  SR  TW  ES  SR   SR  TW  ES  CL   SR  TW  ES  CL
"""

#: secure_tcp: a client's ACK does not establish what the server has not answered; without replies
#: to see, a connection begins in SYNACK.
SECURE_TCP_TRANSITIONS = """
        IN               OUT              IN_ONLY
        syn fin ack rst  syn fin ack rst  syn fin ack rst
    NO  SR  CL  ES  CL   SS  TW  ES  CL   SA  CL  ES  CL
    ES  ·   CW  ·   CL   ·   FW  ·   CL   ·   FW  ·   CL
    SS  ES  ·   ·   CL   ·   ·   ·   ·    ES  ·   ·   CL
    SR  ·   TW  ·   ·    SA  TW  ES  CL   ·   TW  ES  ·
    FW  SR  TW  ·   CL   SS  ·   ·   CL   SA  ·   ·   CL
    TW  SR  ·   ·   CL   SS  ·   ·   ·    SA  ·   ·   CL
    CL  SR  ·   ·   ·    SS  ·   ·   ·    SA  ·   ·   ·
    CW  SR  ·   ·   CL   SS  TW  ·   CL   SA  ·   ·   CL
    LA  SR  ·   CL  ·    SS  ·   ·   CL   SA  ·   CL  ·
    LI  SR  ·   ·   ·    ·   ·   ES  CL   SA  ·   ·   ·
    SA  ·   ·   ·   CL   ·   TW  ES  CL   ·   TW  ES  CL
"""

#: Never active, whoever sends.
UDP_STATES = """
    UD  UDP  300  udp_s
"""

SCTP_STATES = """
    NO  NONE           2
    I1  INIT1          4
    IN  INIT          61
    CS  C-SENT        61
    CR  C-REPLIED     61
    CW  C-WAIT        61
    CO  COOKIE        61
    CE  C-ECHOED      61
    ES  ESTABLISHED  900  active
    SS  S-SENT        61
    SR  S-RECEIVED    61
    SA  S-ACK-SENT    61
    RJ  REJECTED       4
    CL  CLOSED        61
"""

SCTP_TRANSITIONS = """
        IN
        data init init-ack c-echo c-ack shut shut-ack shut-cpl error abort
    NO  ES   I1   CW       CR     ES    SR   CL       CL       CL    CL
    I1  ·    IN   CW       IN     ·     ·    IN       CL       ·     CL
    IN  ·    ·    CW       ·      ·     ·    ·        CL       ·     CL
    CS  ·    ·    ·        CR     ·     ·    ·        ·        ·     CL
    CR  ·    ·    ·        ·      ·     ·    ·        ·        ·     CL
    CW  ·    ·    CO       ·      ·     ·    ·        ·        ·     RJ
    CO  ·    ·    ·        ·      ·     ·    ·        ·        ·     CL
    CE  ·    ·    ·        ·      ES    ·    ·        ·        CL    CL
    ES  ·    ·    ·        ·      ·     SR   ·        ·        ·     CL
    SS  ·    ·    ·        ·      ·     ·    CL       ·        ·     CL
    SR  ·    ·    ·        ·      ·     ·    ·        ·        ·     CL
    SA  ·    ·    ·        ·      ·     ·    CL       CL       ·     CL
    RJ  ·    IN   ·        ·      ·     ·    ·        ·        ·     CL
    CL  ·    IN   ·        ·      ·     ·    ·        ·        ·     ·

        OUT
        data init init-ack c-echo c-ack shut shut-ack shut-cpl error abort
    NO  ES   CW   CS       CE     ES    SS   SA       CL       CL    CL
    I1  ·    CW   CS       CE     ES    SS   SA       ·        CL    RJ
    IN  ·    CW   CS       CE     ES    SS   SA       ·        CL    CL
    CS  ·    CW   ·        CE     ES    SS   SA       ·        CL    CL
    CR  ·    CW   ·        CE     ES    SS   SA       ·        CL    CL
    CW  ·    ·    ·        CE     ES    SS   ·        ·        ·     CL
    CO  ·    CW   ·        CE     ES    SS   ·        ·        ·     CL
    CE  ·    CW   ·        ·      ES    SS   ·        ·        ·     CL
    ES  ·    ·    ·        ·      ·     SS   ·        ·        ·     CL
    SS  ·    CW   ·        ·      ·     ·    SA       ·        ·     CL
    SR  ·    CW   ·        ·      ·     ·    SA       ·        ·     CL
    SA  ·    CW   ·        ·      ·     ·    ·        ·        ·     CL
    RJ  ·    CW   ·        ·      ·     ·    ·        ·        ·     CL
    CL  ·    CW   ·        ·      ·     ·    ·        ·        ·     ·

        IN_ONLY
        data init init-ack c-echo c-ack shut shut-ack shut-cpl error abort
    NO  ES   I1   CE       ES     ES    SR   CL       CL       CL    CL
    I1  ·    IN   CE       ES     ·     ·    IN       CL       ·     CL
    IN  ·    ·    CE       ES     ·     ·    ·        CL       ·     CL
    CS  ·    IN   CE       ES     ES    ·    ·        CL       ·     CL
    CR  ·    IN   CE       ES     ES    ·    ·        CL       ·     CL
    CW  ES   IN   CE       ES     ·     ·    ·        ·        ·     RJ
    CO  ·    ·    ·        ·      ES    ·    ·        ·        ·     CL
    CE  ·    ·    ·        ·      ES    ·    ·        ·        ·     CL
    ES  ·    ·    ·        ·      ·     SR   CL       ·        ·     CL
    SS  ·    ·    ·        ·      ·     ·    CL       ·        ·     CL
    SR  ·    ·    ·        ·      ·     ·    ·        CL       ·     CL
    SA  ·    ·    ·        ·      ·     ·    CL       CL       ·     CL
    RJ  ·    IN   ·        ·      ·     ·    ·        ·        ·     CL
    CL  ·    IN   ·        ·      ·     ·    ·        ·        ·     ·
"""

#: What an SCTP chunk is to the table, by its type (RFC 9260 §3.2): SACK, HEARTBEAT, HEARTBEAT-ACK,
#: ECNE, CWR and every type beyond these are data.
SCTP_CHUNK_EVENTS = (
    "data", "init", "init-ack", "data", "data", "data", "abort", "shut", "shut-ack", "error",
    "c-echo", "c-ack", "data", "data", "shut-cpl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """One state of a protocol; `number` is the kernel's, `default_s` its timeout there."""

    number: int
    abbreviation: str
    name: str
    default_s: int
    is_active: bool
    set_by: str  # the field of Timeouts that replaces default_s; empty: none does

    def timeout_s(self, timeouts: Timeouts) -> int:
        """Seconds that a connection lives in this state without a packet."""
        return int(getattr(timeouts, self.set_by)) if self.set_by else self.default_s


Transition = tuple[Direction, str, State]


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The states of a protocol by number, the events of its packets, and what these lead to."""

    states: tuple[State, ...]
    events: tuple[str, ...]
    table: dict[Transition, State]

    def __getitem__(self, abbreviation: str) -> State:
        return next(state for state in self.states if state.abbreviation == abbreviation)

    def after(self, state: State, direction: Direction, event: str) -> State:
        """The state that a packet makes of `state`. Of one state (UDP) there is no other."""
        return self.table[direction, event, state] if self.table else state


def _read_states(text: str) -> Iterator[State]:
    for number, line in enumerate(text.strip().splitlines()):
        abbreviation, name, seconds, *words = line.split()
        set_by = "".join(word for word in words if word != "active")
        yield State(number, abbreviation, name, int(seconds), "active" in words, set_by)


def _read_block(text: str) -> Iterator[tuple[Direction, str, str, str]]:
    """A block's line of directions, its line of as many events under each, a line a state."""
    directions, events, *rows = (line.split() for line in text.strip().splitlines())
    for state, *cells in rows:
        for column, (event, cell) in enumerate(zip(events, cells, strict=True)):
            direction = directions[column * len(directions) // len(events)]
            yield Direction[direction], event, state, state if cell == "·" else cell


def _machine(states_text: str, transitions: str = "") -> StateMachine:
    states = {state.abbreviation: state for state in _read_states(states_text)}
    blocks = filter(str.strip, transitions.split("\n\n"))
    cells = [cell for block in blocks for cell in _read_block(block)]
    table = {(way, event, states[old]): states[new] for way, event, old, new in cells}
    events = tuple(dict.fromkeys(event for _, event, _, _ in cells))
    if len(table) != len(cells) or len(table) != len(Direction) * len(events) * len(states):
        raise ValueError("a table of states is not whole")
    return StateMachine(tuple(states.values()), events, table)


TCP = _machine(TCP_STATES, TCP_TRANSITIONS)
SECURE_TCP = _machine(TCP_STATES, SECURE_TCP_TRANSITIONS)
UDP = _machine(UDP_STATES)
SCTP = _machine(SCTP_STATES, SCTP_TRANSITIONS)

MACHINES = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP}
