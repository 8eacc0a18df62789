"""What the director is shown of a packet, and what it decides. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from onevip.model import Connection, ForwardingMethod, Protocol, RealServerKey
from onevip.model.states import SCTP_CHUNK_EVENTS

SCTP_INIT, SCTP_ABORT, SCTP_COOKIE_ECHO, SCTP_COOKIE_ACK = 1, 6, 10, 11  # RFC 9260 §3.2
TCP_EVENTS = {"R": "rst", "S": "syn", "F": "fin", "A": "ack"}  # the first that is set counts


@dataclass(frozen=True, slots=True)
class Packet:
    """The headers that decide: addresses, ports, what TCP or SCTP says, the firewall mark.

    `flags`: TCP's, as Scapy's letters ("SA"). `chunks`: types of the SCTP chunks, in order.
    `length`: of the IP packet, bytes.
    """

    source: IPv4Address | IPv6Address
    source_port: int
    destination: IPv4Address | IPv6Address
    destination_port: int
    protocol: Protocol
    flags: str = ""
    chunks: tuple[int, ...] = ()
    length: int = 40
    mark: int = 0

    @property
    def event(self) -> str | None:
        """What it is to a table of states (spec ipvs §3.2, §3.4); None: nothing that is there."""
        if self.protocol is Protocol.TCP:
            return next((event for flag, event in TCP_EVENTS.items() if flag in self.flags), None)
        if self.protocol is Protocol.SCTP and self.chunks:
            first = self.chunks[0]
            if first in (SCTP_COOKIE_ECHO, SCTP_COOKIE_ACK) and SCTP_ABORT in self.chunks[1:2]:
                return "abort"
            return SCTP_CHUNK_EVENTS[first] if first < len(SCTP_CHUNK_EVENTS) else "data"
        return None

    @property
    def is_cut_off(self) -> bool:
        """Too short to tell what it is."""
        return self.protocol is Protocol.SCTP and not self.chunks

    @property
    def asks_anew(self) -> bool:
        """A first packet, so that an old connection of the same ends may be over (§1.2)."""
        return "S" in self.flags or self.chunks[:1] == (SCTP_INIT,)

    def may_open(self, sloppy_tcp: bool, sloppy_sctp: bool) -> bool:
        """Whether it may make a connection (spec ipvs §1.3)."""
        if self.protocol is Protocol.TCP:
            return "R" not in self.flags and (sloppy_tcp or "S" in self.flags)
        if self.protocol is Protocol.SCTP:
            return self.chunks[0] == SCTP_INIT or (sloppy_sctp and self.chunks[0] != SCTP_ABORT)
        return True


class Verdict(enum.Enum):
    """What becomes of a packet."""

    REQUEST = "sent to a real server"
    REPLY = "sent to the client, as from the VIP"
    ACCEPT = "left to the host's own stack"
    REFUSE = "answered with ICMP port unreachable"
    DROP = "dropped silently"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, and of REQUEST and REPLY: whose packet it is.

    `real_port` is the port that a request is sent to, of a reply the one it comes from: the
    VIP's. `connection` is as the packet left it; None when none is kept (one-packet scheduling).
    """

    verdict: Verdict
    real_server: RealServerKey | None = None
    method: ForwardingMethod | None = None
    real_port: int = 0
    connection: Connection | None = None
