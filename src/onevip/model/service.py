"""Virtual services, real servers and their counters: values only.

Ports are host order everywhere in Python. Addresses are `ipaddress` objects.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from onevip.model.errors import BadThresholds


class Protocol(enum.IntEnum):
    """IP protocol numbers (IANA). A service by firewall mark has IP: every protocol."""

    IP = 0
    TCP = 6
    UDP = 17
    SCTP = 132


#: IPVS's schedulers by name; "none" gives no real server to anybody.
SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "lblc", "lblcr", "sh", "dh", "mh",
    "none",
)  # fmt: skip


LONGEST_TIMEOUT_S = 31 * 24 * 3600  # the kernel's, of persistence and of --set


class SchedulerFlag(enum.IntFlag):
    """What `-b` asks of a scheduler; the kernel's numbers (spec ipvs §0)."""

    NONE = 0
    FLAG_1 = 0x08  # sh-fallback, mh-fallback
    FLAG_2 = 0x10  # sh-port, mh-port
    FLAG_3 = 0x20
    FALLBACK = FLAG_1
    PORT = FLAG_2


class ForwardingMethod(enum.IntEnum):
    """How a packet reaches the real server; the kernel's IP_VS_CONN_F_* numbers (spec ipvs §0)."""

    MASQ = 0
    LOCAL = 1
    IPIP = 2
    GATE = 3


def endpoint_text(address: IPv4Address | IPv6Address, port: int) -> str:
    """`192.0.2.1:80` or `[2001:db8::1]:80`."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What names a virtual service: protocol, virtual IP (VIP) and port, or a firewall mark.

    Port 0: every port. `mark` is 1..2^32-1 for a service by mark, see `of_mark`, else 0.
    """

    protocol: Protocol
    address: IPv4Address | IPv6Address
    port: int
    mark: int = 0

    @classmethod
    def of_mark(cls, mark: int, version: int = 4) -> ServiceKey:
        """The service of a firewall mark; `version` 4 or 6, for each family has its own."""
        anywhere = IPv4Address(0) if version == 4 else IPv6Address(0)
        return cls(Protocol.IP, anywhere, 0, mark)

    @property
    def order(self) -> tuple[int, int, int, int, int]:
        """Sort key of `ipvsadm -L`: mark, family, protocol, address, port (spec ipvs §10.7)."""
        return (self.mark, self.address.version, self.protocol, int(self.address), self.port)

    def __str__(self) -> str:
        if self.mark:
            return f"fwm {self.mark}" + (" IPv6" if self.address.version == 6 else "")
        return f"{self.protocol.name.lower()} {endpoint_text(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What `ipvsadm -A` and `-E` set besides the scheduler; -E replaces all of it.

    `persistent_s`: for how long a client network keeps its real server, 1..2678400, 0: not
    persistent. `netmask` makes client networks of clients, None: each client is its own; an
    address of the service's family, of IPv6 only prefixes (spec ipvs §5.1). `one_packet`: each
    UDP datagram is scheduled by itself (§5.4).
    """

    flags: SchedulerFlag = SchedulerFlag.NONE
    persistent_s: int = 0
    netmask: IPv4Address | IPv6Address | None = None
    one_packet: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.persistent_s <= LONGEST_TIMEOUT_S:
            raise ValueError(f"persistence of {self.persistent_s} s: 0..{LONGEST_TIMEOUT_S}")

    def network_of(self, client: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        """The address that stands for the client's network in templates."""
        return client if self.netmask is None else type(client)(int(client) & int(self.netmask))


PLAIN = ServiceOptions()


@dataclass(frozen=True, slots=True)
class RealServerKey:
    """What names a real server inside its service."""

    address: IPv4Address | IPv6Address
    port: int

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key of `ipvsadm -L`: address, then port."""
        return (self.address.version, int(self.address), self.port)

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


@dataclass(frozen=True, slots=True)
class RealServer:
    """One real server of one virtual service. weight 0..2^31-1; 0 means quiescent.

    Thresholds, 0..2^31-1, 0: none. With `upper_threshold` connections it is overloaded and gets
    no new ones until fewer than `lower_threshold` (0: three quarters of upper) are left.
    """

    address: IPv4Address | IPv6Address
    port: int
    method: ForwardingMethod = ForwardingMethod.GATE
    weight: int = 1
    upper_threshold: int = 0
    lower_threshold: int = 0

    @property
    def key(self) -> RealServerKey:
        return RealServerKey(self.address, self.port)

    @property
    def is_quiescent(self) -> bool:
        """Weight 0: no new connections, existing ones go on."""
        return self.weight == 0

    def check_thresholds(self) -> None:
        """Raises BadThresholds when the lower one is above the upper one, as the kernel does."""
        if self.lower_threshold > self.upper_threshold:
            raise BadThresholds(
                f"{self.key}: lower threshold {self.lower_threshold} is above the upper one, "
                f"{self.upper_threshold}"
            )

    def __repr__(self) -> str:
        return f"<RealServer {self.key} {self.method.name.lower()} weight {self.weight}>"


@dataclass(frozen=True, slots=True)
class VirtualService:
    """A virtual service and its real servers, in the order in which they were added.

    The order decides ties (spec ipvs §4.0) but is no part of equality: two services are equal
    when they hold the same real servers.
    """

    key: ServiceKey
    scheduler: str = "wlc"
    real_servers: tuple[RealServer, ...] = field(default=(), compare=False)
    options: ServiceOptions = PLAIN
    _members: dict[RealServerKey, RealServer] = field(init=False, repr=False, hash=False)

    def __post_init__(self) -> None:
        members = {real.key: real for real in self.real_servers}
        if len(members) != len(self.real_servers):
            raise ValueError(f"a real server stands twice in {self.key}")
        object.__setattr__(self, "_members", members)

    def real_server(self, key: RealServerKey) -> RealServer | None:
        """The real server of this key, or None."""
        return self._members.get(key)

    def __repr__(self) -> str:
        up = sum(not real.is_quiescent for real in self.real_servers)
        total = len(self.real_servers)
        return f"<VirtualService {self.key} {self.scheduler}, {up}/{total} with weight>"


@dataclass(frozen=True, slots=True)
class Counters:
    """Gauges and totals of a real server or service, as `ipvsadm -L` shows them.

    `active`, `inactive` and `persistent` (templates) are gauges (spec ipvs §3.1); then totals since
    creation or the last `ipvsadm -Z`, then the estimator's rates a second, as shown (§7). Bytes
    are IP packet lengths, without layer 2.
    """

    active: int = 0
    inactive: int = 0
    persistent: int = 0
    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    connections_rate: int = 0
    in_packets_rate: int = 0
    out_packets_rate: int = 0
    in_bytes_rate: int = 0
    out_bytes_rate: int = 0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What `ipvsadm --set` sets, in seconds, 1..2678400: TCP established, FIN_WAIT, UDP."""

    tcp_s: int = 900
    tcp_fin_s: int = 120
    udp_s: int = 300
