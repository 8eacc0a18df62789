"""argv → what is asked for, or the usage error that the original ipvsadm would give.

Decides only: touches no engine. Texts and exit statuses are ipvsadm 1.31's (spec ipvs §10.5).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from onevip.command.ipvsadm import combination, values
from onevip.command.ipvsadm.popt import PoptError, Walk
from onevip.command.ipvsadm.request import DEFAULT_SCHEDULER, REFUSED, Fault, Request, TryHelp
from onevip.command.ipvsadm.words import COMMANDS, OPTIONS, find
from onevip.model.scheduler_flags import SCHEDULER_FLAGS
from onevip.model.service import LONGEST_TIMEOUT_S, ForwardingMethod, Protocol

DEFAULT_PERSISTENCE_S = 360  # of `-p` alone; the manual page says 300
INT_MAX = 2**31 - 1

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
    "persistent": (1, LONGEST_TIMEOUT_S, "invalid timeout value `{}' specified"),
}

_PROTOCOLS = {
    "tcp-service": Protocol.TCP,
    "udp-service": Protocol.UDP,
    "sctp-service": Protocol.SCTP,
}

_METHODS = {
    "gatewaying": ForwardingMethod.GATE,
    "ipip": ForwardingMethod.IPIP,
    "masquerading": ForwardingMethod.MASQ,
}

#: Those of them that a Request keeps, and as what.
_KEPT_NUMBERS = {
    "weight": "weight",
    "u-threshold": "upper_threshold",
    "l-threshold": "lower_threshold",
    "fwmark-service": "fwmark",
    "persistent": "persistent_s",
}

_EVERY_BIT = IPv4Address("255.255.255.255")


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
            _note(request, groups, option, value)
            _take(request, option, value)
    except PoptError as error:
        raise Fault(str(error), REFUSED) from None
    leftovers = walk.leftovers
    if request.command == "set":
        leftovers = _take_timeouts(request, leftovers)
    if leftovers:
        raise Fault(f"unexpected argument {leftovers[0]}")
    _take_scheduler_flags(request)
    combination.check(request)
    return request


def _check_daemon_role(request: Request, role: str | None) -> None:
    texts = {
        "start-daemon": "illegal start-daemon parameter specified",
        "stop-daemon": "illegal start_daemon specified",
    }
    if request.command in texts and role not in ("master", "backup"):
        raise Fault(texts[request.command])


def _take_timeouts(request: Request, words: list[str]) -> list[str]:
    """`--set` is followed by three plain words; returns the rest."""
    if len(words) < 3:
        raise Fault("--set option requires 3 timeout values")
    for timeout in words[:3]:
        found = values.number(timeout, 0, LONGEST_TIMEOUT_S)
        if found is None:
            raise Fault(f"invalid timeout value `{timeout}' specified")
        request.timeouts_s += (found,)
    return words[3:]


def _note(request: Request, groups: set[str], option: str, value: str | None) -> None:
    """One of each group of options, and only once."""
    group = OPTIONS[option][1]
    if group in groups:
        raise Fault(f"multiple '{group}' options specified")
    if group:
        groups.add(group)
    request.given[option] = value


def _take(request: Request, option: str, value: str | None) -> None:
    """Check the value of one option by itself, and keep it."""
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
        # 15: the kernel's IP_VS_SCHEDNAME_MAXLEN
        request.scheduler = (value or "")[:15] or DEFAULT_SCHEDULER
    elif option in _NUMBERS:
        _take_number(request, option, value or str(DEFAULT_PERSISTENCE_S))
    elif option == "netmask":
        _take_netmask(request, value or "")
    else:
        _check_word(option, value or "")


def _take_service(request: Request, option: str, value: str) -> None:
    request.protocol = _PROTOCOLS[option]
    request.service = values.endpoint(value, request.protocol)
    if request.service is None:
        raise Fault("illegal virtual server address[:port] specified")


def _take_real_server(request: Request, value: str) -> None:
    # A service by mark counts as TCP where a port is named.
    protocol = Protocol.TCP if request.fwmark else request.protocol
    request.real = values.endpoint(value, protocol)
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
    if option in _KEPT_NUMBERS:
        setattr(request, _KEPT_NUMBERS[option], found)


def _take_netmask(request: Request, value: str) -> None:
    if request.family == 6:
        if values.number(value, 1, 128) is None:
            raise Fault("illegal ipv6 netmask specified")
        return
    netmask = values.ipv4(value)
    if netmask is None:
        raise Fault("illegal virtual server persistent mask specified")
    request.netmask = None if netmask == _EVERY_BIT else netmask


def _check_word(option: str, value: str) -> None:
    """Values that onevip only checks so far, so that their errors are the original's."""
    if option == "tun-type" and value not in combination.TUNNELS:
        raise Fault("illegal tunnel type specified")
    if option == "mcast-group":
        group = values.endpoint(value, None) or values.endpoint("0.0.0.0", None)
        if group is not None and not group.address.is_multicast:
            raise Fault(f"invalid IPv{group.address.version} mcast-group `{value}'")


def _take_scheduler_flags(request: Request) -> None:
    """After all options: -s may stand behind -b."""
    for name in filter(None, (request.given.get("sched-flags") or "").split(",")):
        if name not in SCHEDULER_FLAGS:
            raise Fault(f"invalid scheduler flag `{name}'")
        flag, scheduler = SCHEDULER_FLAGS[name]
        if scheduler not in ("", request.scheduler):
            raise Fault(f"incompatible scheduler flag `{name}'")
        request.flags |= flag
