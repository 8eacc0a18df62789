"""The words of `onevip connections` that choose connections → a ConnectionFilter. Pure."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from onevip.model import ConnectionFilter, Protocol, ServiceKey, UsageError
from onevip.model.connection import STATES, TEMPLATE_STATES

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

KNOWN_STATES = dict.fromkeys(
    name for names in (*STATES.values(), TEMPLATE_STATES) for name in names
)


def read(
    client: str | None, service: str | None, real: str | None, state: str | None
) -> ConnectionFilter:
    """The filter of those options; None for one that was not given. Raises UsageError."""
    address, port = (None, None) if real is None else _real(real)
    return ConnectionFilter(
        None if client is None else _client(client),
        None if service is None else _service(service),
        address,
        port,
        frozenset() if state is None else _states(state),
    )


def _client(text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise _fault(
            "client", text, "no address or network", "192.0.2.7, 192.0.2.0/24, 2001:db8::/32"
        ) from None
    if "/" in text and str(network.network_address) != str(_address(text.partition("/")[0])):
        raise _fault("client", text, "address bits beyond the mask", str(network))
    return network


def _service(text: str) -> ServiceKey:
    example = "tcp:192.0.2.100:80, udp:[2001:db8::1]:53, port 0 for every port"
    name, _, rest = text.partition(":")
    if name.lower() == "fwm":
        raise _fault("service", text, "connections do not know their mark", _templates_of(rest))
    if name.upper() not in Protocol.__members__:
        raise _fault("service", text, f"{name!r} is no protocol", example)
    address, port = _endpoint("service", text, rest, example)
    if port is None:
        raise _fault("service", text, "its port is missing", example)
    return ServiceKey(Protocol[name.upper()], address, port)


def _templates_of(mark: str) -> str:
    """The templates of a service by mark do: it is the address that they are for."""
    known = mark.isascii() and mark.isdigit() and 0 < int(mark[:11]) < 2**32
    return f"ip:{IPv4Address(int(mark) if known else 7)}:0 for its templates"


def _real(text: str) -> tuple[Address, int | None]:
    example = "10.1.0.10, 10.1.0.10:80, 2001:db8::1, [2001:db8::1]:80"
    return _endpoint("real", text, text, example)


def _endpoint(option: str, text: str, rest: str, example: str) -> tuple[Address, int | None]:
    """`address`, `address:port`, `[v6]:port`; the port is None when it was not given."""
    host, port = rest, None
    if rest.startswith("["):
        host, bracket, port = rest[1:].rpartition("]:")
        if not bracket:
            raise _fault(option, text, "no ]:PORT after the address", example)
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    address = _address(host)
    if address is None:
        raise _fault(option, text, f"{host!r} is no address", example)
    if rest.startswith("[") and address.version == 4:
        raise _fault(option, text, "brackets are for IPv6 addresses", example)
    if port is None:
        return address, None
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise _fault(option, text, f"port {port!r} is no number from 0 to 65535", example)
    return address, int(port)


def _states(text: str) -> frozenset[str]:
    names = [name.strip().upper() for name in text.split(",")]
    for name in names:
        if name not in KNOWN_STATES:
            raise _fault("state", text, f"there is no state {name!r}", ", ".join(KNOWN_STATES))
    return frozenset(names)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _fault(option: str, text: str, what: str, instead: str) -> UsageError:
    return UsageError(f"connections: --{option} {text}: {what}; write {instead}")
