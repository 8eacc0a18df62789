"""The interface of every engine. No engine is imported here."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from onevip.engines.room import RoomReport
from onevip.model import (
    Change,
    Connection,
    ConnectionFilter,
    ConnectionKind,
    Counters,
    RealServerKey,
    ServiceKey,
    Table,
    Timeouts,
)
from onevip.model import Protocol as IpProtocol

#: Counters: a service's own under (service, None), a real server's under both keys.
CountersByKey = dict[tuple[ServiceKey, RealServerKey | None], Counters]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The table and its counters as they were at one moment."""

    table: Table
    counters: CountersByKey


EVERY_CONNECTION = ConnectionFilter()


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How a connection becomes a line: head, client, tail.

    `head` and `tail` are asked once for each different one, so an engine may write a million
    lines without calling anything; the client differs in every line and is told as data.
    """

    head: Callable[[IpProtocol, str, int, bool, bool], str]  # state, expires_s, active, template
    tail: Callable[[ServiceKey, RealServerKey], str]  # with the end of the line
    client_width: int = 0  # padded on the right
    between: str = ":"  # client address and port
    brackets: bool = True  # around a client's IPv6 address

    def line(self, one: Connection) -> str:
        """The line of one connection."""
        head = self.head(one.protocol, one.state, one.expires_s, one.active, one.template)
        client = f"{one.client}{self.between}{one.client_port}"
        if isinstance(one.client, IPv6Address):  # in inet_ntop's form, as everywhere in Linux
            text = socket.inet_ntop(socket.AF_INET6, one.client.packed)
            client = f"[{text}]" if self.brackets else text
            client += f"{self.between}{one.client_port}"
        return f"{head}{client:<{self.client_width}}{self.tail(one.service, one.real_server)}"


class Engine(Protocol):
    """Holds the table of one network namespace and forwards its packets."""

    def read(self, services: Iterable[ServiceKey] | None = None) -> Table:
        """The table as the engine holds it now, or what it holds of those services.

        An engine that is not loaded holds nothing.
        """
        ...

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        """Table and counters, of one service or of all. Raises UnknownService."""
        ...

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply changes in order; each is in force as a whole or not at all.

        Raises TableError for the first that does not fit (those before it stay in force) and
        DataplaneError when the kernel refuses.
        """
        ...

    def schedulers(self) -> frozenset[str]:
        """The schedulers that this engine has."""
        ...

    def timeouts(self) -> Timeouts:
        """How long idle connections live: `ipvsadm -L --timeout`."""
        ...

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """`ipvsadm --set`: for new and for old connections, at once."""
        ...

    def tunables(self) -> dict[str, int]:
        """Every tunable of `model.TUNABLES` and its value."""
        ...

    def set_tunable(self, name: str, value: int) -> None:
        """`onevip sysctl -w`. Raises UnknownTunable for another name or a value out of range."""
        ...

    def connections(self, wanted: ConnectionFilter = EVERY_CONNECTION) -> Iterator[Connection]:
        """Live connections, each as it was at the instant when it was read.

        In no order. One that begins or ends meanwhile is reported or not.
        """
        ...

    def connection_lines(
        self, lines: LineFormat, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Iterator[str]:
        """The same as text, many lines at a time: for a table of a million."""
        ...

    def connection_counts(
        self, wanted: ConnectionFilter = EVERY_CONNECTION
    ) -> Counter[ConnectionKind]:
        """The same, only counted."""
        ...

    def room(self) -> RoomReport:
        """How full the connection table is. Raises DataplaneError when nothing is loaded."""
        ...

    def set_limit(self, connections: int) -> RoomReport:
        """Up to how many connections the table grows; it holds until the engine is unloaded.

        A table that is too full for its size grows at once. Raises DataplaneError out of
        1..LARGEST_LIMIT and when nothing is loaded.
        """
        ...

    def grow(self) -> RoomReport:
        """Make the table for the limit now. Raises DataplaneError when there is nothing to grow."""
        ...
