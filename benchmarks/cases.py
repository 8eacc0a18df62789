"""What is measured: the list, and what a right run of each looks like. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from onevip.model import ForwardingMethod, Protocol

MASQ, IPIP, GATE = ForwardingMethod.MASQ, ForwardingMethod.IPIP, ForwardingMethod.GATE
TCP, UDP = Protocol.TCP, Protocol.UDP
TEN: Final = 10  # real servers, where a case says nothing else
FLOWS = {1: "1 flow", 1 << 10: "1k flows", 1 << 14: "16k flows", 1 << 17: "128k flows"}
FLOWS |= {1 << 20: "1M flows"}
ONE, MANY = 1, 1 << 17
NEW_FLOWS: Final = 1 << 20  # so many packets until a new connection is one of the first again


class Road(Enum):
    """Which way the packets of a case take through the data plane."""

    ESTABLISHED = "request of a connection"
    REPLY = "reply of a connection, to the client"
    NEW = "SYN of a new flow, its connection is kept"
    STRANGER = "not for a VIP: passed on"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    name: str
    road: Road
    flows: int = 1
    method: ForwardingMethod = GATE
    protocol: Protocol = TCP
    scheduler: str = "rr"
    reals: int = TEN
    family: int = 4
    full: float = 0.0  # which part of the table is taken; 0: by these flows only
    flags: str = "A"
    changes: int = 0  # of random real servers' counts, before each packet
    in_each_chunk: bool = False  # instead, one in each part of the list that remembers its best
    goal: float | None = None
    goal_of: tuple[str, float] | None = None  # another case's ratio, and how often that

    def weight(self, number: int) -> int:
        """Of a real server: different where the scheduler looks at it."""
        return 1 + number % 4 if self.scheduler.startswith("w") else 1

    def expects(self, packets: int, refused: int = 0, table_full: int = 0) -> dict[str, int]:
        """What the door counts in a right run, and nothing else.

        In a full table: `refused` of the flows found no place, their packets are nobody's;
        `table_full` of the new connections found none.
        """
        hits, rest = divmod(packets * (self.flows - refused), self.flows)
        if rest:
            raise ValueError("rounds that some flows are met more often in than others")
        new = packets - table_full
        if self.family == 6:
            return {}  # found and touched, but not sent on yet: the table says who was met
        return {
            Road.ESTABLISHED: {self.method.name.lower(): hits},
            Road.REPLY: {"replies": hits},
            Road.NEW: {"new_connections": new, self.method.name.lower(): new},
            Road.STRANGER: {},
        }[self.road] | ({"table_full": table_full} if table_full else {})


def established(
    name: str, flows: int, *, goal: float | None = None,
    goal_of: tuple[str, float] | None = None, road: Road = Road.ESTABLISHED,
    method: ForwardingMethod = GATE, protocol: Protocol = TCP, family: int = 4,
) -> Case:  # fmt: skip
    return Case(
        f"{name}, {FLOWS[flows]}", road, flows, method, protocol, family=family, goal=goal,
        goal_of=goal_of,
    )  # fmt: skip


def new(scheduler: str, reals: int, goal: float | None = None) -> Case:
    name = f"new connection by {scheduler}, {reals} real server{'s' * (reals > 1)}"
    return Case(name, Road.NEW, NEW_FLOWS, scheduler=scheduler, reals=reals, flags="S", goal=goal)


def busy(name: str, *, goal: float | None = None, **changes: Any) -> Case:
    """A new connection while others of a thousand real servers end: the best changes."""
    calm = new("wlc", MOST)
    return replace(calm, name=f"new, wlc of {MOST}, {name}", goal=goal, **changes)


def _near(flows: int, factor: float) -> tuple[str, float]:
    return f"established gate, {FLOWS[flows]}", factor


ESTABLISHED_GOALS = {1: 4.0, 1 << 10: None, 1 << 14: None, 1 << 17: 12.0, 1 << 20: 14.0}
NEW_GOALS = {
    ("rr", TEN): 20.0,
    ("wrr", TEN): 20.0,
    ("wlc", TEN): 20.0,
    ("wlc", 1000): 50.0,
}
MOST: Final = 1000  # real servers

CASES: tuple[Case, ...] = (
    *(established("established gate", n, goal=goal) for n, goal in ESTABLISHED_GOALS.items()),
    *(established("established masq", n, method=MASQ, goal_of=_near(n, 1.15)) for n in (ONE, MANY)),
    *(
        established("reply of masq", n, method=MASQ, road=Road.REPLY, goal_of=_near(n, 1.15))
        for n in (ONE, MANY)
    ),
    *(established("established ipip", n, method=IPIP) for n in (ONE, MANY)),
    *(established("UDP gate", n, protocol=UDP) for n in (ONE, MANY)),
    *(
        established("IPv6 established gate", n, family=6, goal_of=_near(n, 1.20))
        for n in (ONE, MANY)
    ),
    *(
        new(scheduler, reals, NEW_GOALS.get((scheduler, reals)))
        for scheduler in ("rr", "wrr", "wlc")
        for reals in (1, 10, 100, MOST)
    ),
    *(new(scheduler, MOST) for scheduler in ("lc", "sed", "nq")),
    *(new(scheduler, TEN) for scheduler in ("fo", "ovf", "twos", "sh", "dh", "mh", "lblc")),
    busy("2 closes each", changes=2, goal=50.0),
    busy("closes everywhere", in_each_chunk=True),
    Case("table 50 % full, established", Road.ESTABLISHED, MANY, full=0.5),
    Case("table 50 % full, new connection", Road.NEW, NEW_FLOWS, full=0.5, flags="S"),
    Case("table 90 % full, established", Road.ESTABLISHED, MANY, full=0.9),
    Case("table 90 % full, new connection", Road.NEW, NEW_FLOWS, full=0.9, flags="S"),
    Case("not for a VIP, one flow", Road.STRANGER, goal=2.2),
    Case("not for a VIP, random", Road.STRANGER, MANY, goal=2.2),
    Case("not for a VIP, random SYN", Road.STRANGER, MANY, flags="S", goal=2.2),
)
