"""One command line of ipvsadm, read: what is asked for. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from onevip.command.ipvsadm import values
from onevip.command.ipvsadm.words import COMMANDS
from onevip.model.service import (
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
)

USAGE_ERROR = 2
REFUSED = 255  # the original's exit(-1)

DEFAULT_SCHEDULER = "wlc"
#: The text of EINVAL.
NOT_UNICAST = "Invalid operation.  Possibly wrong module version, address not unicast, ..."
_BROADCAST = IPv4Address("255.255.255.255")


class Fault(Exception):
    """A command line that ipvsadm does not accept: the text for stderr and the exit status."""

    def __init__(self, text: str, status: int = USAGE_ERROR) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class TryHelp(Exception):
    """There is no command, or it is not the first option."""


@dataclass(slots=True)
class Request:
    """One command line, read. What was not given stands at the original's default."""

    command: str  # long form: "add-service"
    given: dict[str, str | None] = field(default_factory=dict)  # option, long form → value
    protocol: Protocol | None = None
    service: values.Endpoint | None = None
    real: values.Endpoint | None = None
    real_port: int = 0
    fwmark: int = 0
    ipv6: bool = False
    method: ForwardingMethod = ForwardingMethod.GATE
    weight: int = 1
    upper_threshold: int = 0
    lower_threshold: int = 0
    scheduler: str = DEFAULT_SCHEDULER
    flags: SchedulerFlag = SchedulerFlag.NONE
    persistent_s: int = 0
    netmask: IPv4Address | None = None
    timeouts_s: tuple[int, ...] = ()  # of --set: TCP, FIN_WAIT, UDP

    @property
    def name(self) -> str:
        """The command's name in messages."""
        return COMMANDS[self.command][1]

    @property
    def family(self) -> int:
        """IP version of the virtual service."""
        if self.service is not None:
            return self.service.address.version
        return 6 if self.ipv6 else 4

    @property
    def service_port(self) -> int:
        """Port of the virtual service; 0 when none was given."""
        return (self.service.port or 0) if self.service is not None else 0

    @property
    def key(self) -> ServiceKey | None:
        """The service that is named, if one is."""
        if self.fwmark:
            return ServiceKey.of_mark(self.fwmark, self.family)
        if self.service is None or self.protocol is None:
            return None
        return ServiceKey(self.protocol, self.service.address, self.service_port)

    @property
    def named_key(self) -> ServiceKey:
        """The same, where the matrix of words.py has seen to it that one is."""
        assert self.key is not None
        return self.key

    @property
    def options(self) -> ServiceOptions:
        """Of the service, for -A and -E."""
        return ServiceOptions(
            self.flags, self.persistent_s, self.netmask, one_packet="ops" in self.given
        )

    @property
    def real_server_key(self) -> RealServerKey:
        """The real server that the matrix requires."""
        assert self.real is not None
        return RealServerKey(self.real.address, self.real_port)

    @property
    def real_server(self) -> RealServer:
        """The real server of -a and -e. Raises Fault for an address that is no single host's."""
        key = self.real_server_key
        address = key.address
        if address.is_multicast or address.is_unspecified or address == _BROADCAST:
            raise Fault(NOT_UNICAST, REFUSED)
        return RealServer(
            key.address,
            key.port,
            self.method,
            self.weight,
            self.upper_threshold,
            self.lower_threshold,
        )
