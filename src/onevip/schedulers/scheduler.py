"""What every scheduler is and what it may look at. The rules themselves: one file each.

A scheduler sees its service's real servers in the kernel's list order, the most recently added
first (spec ipvs §4.0): "the first" in any rule means this order. Servers are objects that live
as long as somebody names them: their weight and counts change, they do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, Protocol, TypeVar

from onevip.model import SchedulerFlag

Address = IPv4Address | IPv6Address


class Server(Protocol):
    """What a scheduler knows of a real server."""

    @property
    def address(self) -> Address: ...
    @property
    def port(self) -> int: ...
    @property
    def weight(self) -> int: ...
    @property
    def last_weight(self) -> int:
        """The latest that was not 0, else the weight at the beginning."""
        ...

    @property
    def active(self) -> int: ...
    @property
    def inactive(self) -> int: ...
    @property
    def overloaded(self) -> bool:
        """It reached its upper threshold."""
        ...

    @property
    def available(self) -> bool:
        """It is in the list: False once it is deleted."""
        ...


S = TypeVar("S", bound=Server)


def no_dice(sides: int) -> int:
    """For who never throws them."""
    raise NotImplementedError(f"a die with {sides} sides was not given")


@dataclass(frozen=True, slots=True)
class Request:
    """What asks for a real server: a packet's ends, its service's flags, and the moment.

    `vip` is the packet's destination, of a service by mark any address. `dice(n)` is a random
    number below n. `tunables` has lblc_expiration and lblcr_expiration, in seconds.
    """

    client: Address
    client_port: int
    vip: Address
    flags: SchedulerFlag = SchedulerFlag.NONE
    now: float = 0.0
    dice: Callable[[int], int] = no_dice
    tunables: Mapping[str, int] = field(default_factory=dict)


class Scheduler(ABC, Generic[S]):
    """One service's scheduler with what it remembers; a new one begins anew."""

    def __init__(self, servers: Sequence[S]) -> None:
        """For a service that has these servers already."""
        self.changed((), servers)

    def changed(self, before: Sequence[S], after: Sequence[S]) -> None:
        """A server was added or deleted, or, when both lists are equal, edited."""

    @abstractmethod
    def choose(self, servers: Sequence[S], request: Request) -> S | None:
        """The server of a new connection, or None: nobody. `servers` is the latest list."""


def is_eligible(server: Server) -> bool:
    """May be given new connections: it has weight and is not overloaded."""
    return server.weight > 0 and not server.overloaded


def overhead(server: Server) -> int:
    """How busy it is; an active connection counts as 256 inactive ones."""
    return 256 * server.active + server.inactive
