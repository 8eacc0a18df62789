"""argv → what is asked for, or the usage error that the original ipvsadm would give.

Decides only: touches no engine. Texts and exit statuses are ipvsadm 1.31's (spec ipvs §10.5).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onevip.command.ipvsadm import values
from onevip.command.ipvsadm.popt import PoptError, Walk
from onevip.command.ipvsadm.words import COMMANDS, GROUPS, OPTIONS, VALIDITY, find
from onevip.model.service import ForwardingMethod, Protocol

USAGE_ERROR = 2
REFUSED = 255  # the original's exit(-1)
MAX_TIMEOUT_S = 31 * 24 * 3600
INT_MAX = 2**31 - 1


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
    """One command line, read."""

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
    scheduler: str = "wlc"

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


#: Option → lowest, highest, text of refusal.
_NUMBERS = {
    "weight": (0, INT_MAX, "illegal weight specified"),
    "u-threshold": (0, INT_MAX, "illegal u_threshold specified"),
    "l-threshold": (0, INT_MAX, "illegal l_threshold specified"),
    "tun-port": (1, 65535, "illegal tunnel port specified"),
    "syncid": (0, 255, "illegal syncid specified"),
    "mcast-port": (1, 65535, "illegal mcast-port specified"),
    "mcast-ttl": (1, 255, "illegal mcast-ttl specified"),
    "sync-maxlen": (1, 65535 - 20 - 8, "illegal sync-maxlen specified"),
    "fwmark-service": (1, 2**32 - 1, "invalid fwmark value `{}' specified"),
    "persistent": (1, MAX_TIMEOUT_S, "invalid timeout value `{}' specified"),
}

_PROTOCOLS = {
    "tcp-service": Protocol.TCP,
    "udp-service": Protocol.UDP,
    "sctp-service": None,
}

_METHODS = {
    "gatewaying": ForwardingMethod.GATE,
    "ipip": ForwardingMethod.IPIP,
    "masquerading": ForwardingMethod.MASQ,
}

#: Scheduler flag → the schedulers that know it; empty: all.
_SCHEDULER_FLAGS = {
    "flag-1": "",
    "flag-2": "",
    "flag-3": "",
    "sh-fallback": "sh",
    "sh-port": "sh",
    "mh-fallback": "mh",
    "mh-port": "mh",
}

#: Tunnel type → option → required (+), one of these (1) or illegal (x).
_TUNNELS = {
    "ipip": {"tun-port": "x", "tun-nocsum": "x", "tun-csum": "x", "tun-remcsum": "x"},
    "gue": {"tun-port": "+", "tun-nocsum": "1", "tun-csum": "1", "tun-remcsum": "1"},
    "gre": {"tun-port": "x", "tun-nocsum": "1", "tun-csum": "1", "tun-remcsum": "x"},
}


def read(argv: list[str]) -> Request:
    """The request of that command line.

    Raises Fault with the original's text, or TryHelp.
    """
    if not argv:
        return Request("list")
    walk = Walk(argv, find)
    try:
        first = next(walk, None)
    except PoptError:
        raise TryHelp from None
    if first is None or first.option not in COMMANDS:
        raise TryHelp
    request = Request(first.option)
    if request.command in ("help", "version"):
        return request
    _check_daemon_role(request, first.value)
    groups: set[str] = set()
    try:
        for option, value, word in walk:
            if option not in OPTIONS:
                raise Fault(f"invalid option `{word}'")
            _take(request, groups, option, value)
    except PoptError as error:
        raise Fault(str(error), REFUSED) from None
    leftovers = walk.leftovers
    if request.command == "set":
        leftovers = _check_timeouts(leftovers)
    if leftovers:
        raise Fault(f"unexpected argument {leftovers[0]}")
    _check_scheduler_flags(request)
    _check_combination(request, groups)
    return request


def _check_daemon_role(request: Request, role: str | None) -> None:
    texts = {
        "start-daemon": "illegal start-daemon parameter specified",
        "stop-daemon": "illegal start_daemon specified",
    }
    if request.command in texts and role not in ("master", "backup"):
        raise Fault(texts[request.command])


def _check_timeouts(words: list[str]) -> list[str]:
    """`--set` is followed by three plain words; returns the rest."""
    if len(words) < 3:
        raise Fault("--set option requires 3 timeout values")
    for timeout in words[:3]:
        if values.number(timeout, 0, MAX_TIMEOUT_S) is None:
            raise Fault(f"invalid timeout value `{timeout}' specified")
    return words[3:]


def _take(request: Request, groups: set[str], option: str, value: str | None) -> None:
    """Note one option and check its value by itself."""
    group = OPTIONS[option][1]
    if group in groups:
        raise Fault(f"multiple '{group}' options specified")
    if group:
        groups.add(group)
    request.given[option] = value
    if option in _METHODS:
        request.method = _METHODS[option]
    elif option == "ipv6":
        if not request.fwmark:
            raise Fault("-6 used before -f\n")
        request.ipv6 = True
    elif option in _PROTOCOLS:
        _take_service(request, option, value or "")
    elif option == "real-server":
        _take_real_server(request, value or "")
    elif option == "scheduler":
        request.scheduler = (value or "")[:15]  # the kernel's IP_VS_SCHEDNAME_MAXLEN
    elif option in _NUMBERS and value is not None:
        _take_number(request, option, value)
    else:
        _check_word(request, option, value or "")


def _take_service(request: Request, option: str, value: str) -> None:
    request.protocol = _PROTOCOLS[option]
    request.service = values.endpoint(value, request.protocol)
    if request.service is None:
        raise Fault("illegal virtual server address[:port] specified")


def _take_real_server(request: Request, value: str) -> None:
    request.real = values.endpoint(value, request.protocol)
    if request.real is None:
        raise Fault("illegal real server address[:port] specified")
    # As the original: only a service that stands before -r lends its port.
    port = request.real.port
    request.real_port = request.service_port if port is None else port


def _take_number(request: Request, option: str, value: str) -> None:
    lowest, highest, refusal = _NUMBERS[option]
    found = values.number(value, lowest, highest)
    if found is None:
        raise Fault(refusal.format(value))
    if option == "weight":
        request.weight = found
    elif option == "fwmark-service":
        request.fwmark = found


def _check_word(request: Request, option: str, value: str) -> None:
    """Values that onevip only checks so far, so that their errors are the original's."""
    if option == "tun-type" and value not in _TUNNELS:
        raise Fault("illegal tunnel type specified")
    if option == "netmask" and request.family == 4 and values.ipv4(value) is None:
        raise Fault("illegal virtual server persistent mask specified")
    if option == "netmask" and request.family == 6 and values.number(value, 1, 128) is None:
        raise Fault("illegal ipv6 netmask specified")
    if option == "mcast-group":
        group = values.endpoint(value, None) or values.endpoint("0.0.0.0", None)
        if group is not None and not group.address.is_multicast:
            raise Fault(f"invalid IPv{group.address.version} mcast-group `{value}'")


def _check_combination(request: Request, groups: set[str]) -> None:
    _check_validity(request.name, groups)
    if request.command in ("add-service", "edit-service"):
        _check_service(request)
    elif request.command in ("add-server", "edit-server"):
        _check_real_server(request)
    elif request.command == "list":
        _check_list(groups)


def _check_validity(name: str, groups: set[str]) -> None:
    """The matrix of words.py, row by row."""
    rules = VALIDITY.get(name, {})
    last = None
    for group in GROUPS:
        rule = rules.get(group, ".")
        if group not in groups:
            if rule == "R":
                raise Fault(f"You need to supply the '{group}' option for the '{name}' command")
        elif rule == ".":
            raise Fault(f"Illegal '{group}' option with the '{name}' command")
        elif rule == "1":
            if last is not None:
                raise Fault(
                    f"The option '{group}' conflicts with the '{last}' option"
                    f" in the '{name}' command"
                )
            last = group


def _check_service(request: Request) -> None:
    if not request.fwmark and not request.service_port and "persistent" not in request.given:
        raise Fault("Zero port specified for non-persistent service")
    is_udp = request.protocol is Protocol.UDP
    if "ops" in request.given and not request.fwmark and not is_udp:
        raise Fault("One-Packet Scheduling is only for UDP virtual services")


def _check_scheduler_flags(request: Request) -> None:
    for flag in filter(None, (request.given.get("sched-flags") or "").split(",")):
        if flag not in _SCHEDULER_FLAGS:
            raise Fault(f"invalid scheduler flag `{flag}'")
        if _SCHEDULER_FLAGS[flag] not in ("", request.scheduler):
            raise Fault(f"incompatible scheduler flag `{flag}'")


def _check_real_server(request: Request) -> None:
    if not request.fwmark and request.method is not ForwardingMethod.MASQ:
        # DR and TUN deliver the packet with the port that the client sent it to.
        request.real_port = request.service_port
    _check_tunnel(request)
    is_tunnel = request.method is ForwardingMethod.IPIP
    if (
        request.real is not None
        and request.real.address.version != request.family
        and not is_tunnel
    ):
        raise Fault("Different address family is allowed only for tunneling servers")


def _check_tunnel(request: Request) -> None:
    used = [option for option in request.given if option.startswith("tun-")]
    if used and request.method is not ForwardingMethod.IPIP:
        raise Fault("Tunnel options conflict with forward method")
    tunnel = request.given.get("tun-type") or "ipip"
    last = None
    for option, rule in _TUNNELS[tunnel].items():
        if option not in used:
            if rule == "+":
                raise Fault(
                    f"You need to supply the '{option}' option for the '{tunnel}' tunnel type"
                )
        elif rule == "x":
            raise Fault(f"Illegal '{option}' option with the '{tunnel}' tunnel type")
        elif rule == "1":
            if last is not None:
                raise Fault(
                    f"The option '{option}' conflicts with the '{last}' option"
                    f" in the '{tunnel}' tunnel type"
                )
            last = option


def _check_list(groups: set[str]) -> None:
    special = groups & {"connection", "timeout", "daemon"}
    if (special and groups & {"stats", "rate", "thresholds"}) or (
        special - {"connection"} and "persistent-conn" in groups
    ):
        raise Fault("options conflicts in the list command")
