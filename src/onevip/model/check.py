"""What is checked on a real server, and what one attempt found. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from onevip.model.secret import NO_SECRET, Secret
from onevip.model.service import ForwardingMethod, Protocol, RealServerKey, ServiceKey


class CheckType(enum.Enum):
    """How a real server's health is found: ldirectord's `checktype` (spec ldirectord §4)."""

    NEGOTIATE = "negotiate"  # a conversation in the protocol of `Check.service`
    CONNECT = "connect"
    COMBINED = "combined"  # checktype=N: N connects, then one negotiation
    PING = "ping"
    EXTERNAL = "external"
    EXTERNAL_PERL = "external-perl"
    ON = "on"  # up at once, never probed
    OFF = "off"  # never probed, never up by itself


class Verify(enum.Enum):
    """What a TLS probe asks of the server's certificate: our directive `tlsverify`."""

    NONE = "none"
    CHAIN = "chain"  # signed by a known authority and valid now; the name is not looked at
    NAME = "name"  # that, and issued for the virtualhost


@dataclass(frozen=True, slots=True)
class Tls:
    """How a TLS probe judges the server. `ca_file`: PEM, "" for the system's authorities."""

    verify: Verify = Verify.CHAIN
    ca_file: str = ""


PLAIN_TLS = Tls()


@dataclass(frozen=True, slots=True)
class CheckPath:
    """`checkpath=vip`: probes go to the VIP, by the way that packets of clients take.

    Through this service's forwarding method (gate or ipip: masq's way to the real server is the
    one that every probe takes) to this real server.
    """

    service: ServiceKey
    real: RealServerKey
    method: ForwardingMethod


@dataclass(frozen=True, slots=True)
class Check:
    """One configured check. Equal checks are one check: they share their probes and verdict.

    What its type does not use keeps its default, so that it makes no two checks of one.
    """

    type: CheckType
    address: IPv4Address | IPv6Address
    port: int
    timeout_s: float  # checktimeout: of a connect, a ping, an external program
    interval_s: float  # from the start of one probe to the start of the next
    negotiate_timeout_s: float = 30.0  # of a whole negotiation
    service: str = ""  # ldirectord's `service`, of NEGOTIATE and COMBINED: "http", "dns" …
    protocol: Protocol = Protocol.TCP  # what carries the negotiation
    request: str = "/"  # with its slash; without: a whole URL, of a real server's own line
    receive: str = ""  # Perl's regular expression, searched unanchored; empty: any answer
    virtualhost: str = ""
    http_method: str = "GET"
    failure_count: int = 1  # consecutive failures before the verdict is down
    rise_count: int = 1  # consecutive successes before a server that was down is up
    jitter: int = 0  # 0..100: by how many per cent of the interval each period varies
    ping_count: int = 1  # checkcount: echo requests of one probe, each with its timeout_s
    connects: int = 0  # COMBINED: good connects between two negotiations, 0: negotiate always
    command: str = ""  # of external checks
    arguments: tuple[str, ...] = ()  # of external checks: VIP or mark, its port, RIP, its port
    login: str = ""
    passwd: Secret = NO_SECRET
    database: str = ""
    secret: Secret = NO_SECRET
    tls: Tls = PLAIN_TLS
    path: CheckPath | None = None

    @property
    def probes(self) -> tuple[str, ...]:
        """The names of the probes that it needs, see `health.probes`; none when never probed."""
        match self.type:
            case CheckType.NEGOTIATE:
                return () if self.service == "none" else (self.service,)
            case CheckType.COMBINED:
                return ("connect",) if self.service == "none" else ("connect", self.service)
            case CheckType.ON | CheckType.OFF:
                return ()
            case _:
                return (self.type.value,)

    def limit_s(self, probe: str) -> float:
        """How long the real server may take over one attempt of this probe, one of `probes`."""
        if probe == CheckType.PING.value:
            return self.ping_count * self.timeout_s
        return self.negotiate_timeout_s if probe == self.service else self.timeout_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one probe found: healthy or not, and why in words for people.

    Not `tried`: the director itself lacked what a probe needs, which says nothing of the server.
    """

    healthy: bool
    reason: str
    tried: bool = True
