"""Addresses, links and routes through rtnetlink. Only IPv4; pyroute2 is imported when needed."""

# ruff: noqa: PLC0415 - pyroute2 takes longer to import than most commands take to run.

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from onevip.model import HostError

MAIN_TABLE = 254
RTN_UNICAST = 1
RTN_UNREACHABLE_TYPES = (6, 7, 8)  # blackhole, unreachable, prohibit
IFF_UP = 1
LOCALHOST = IPv4Address("127.0.0.1")

Metrics = dict[str, int]


@dataclass(frozen=True, slots=True)
class Link:
    """An interface; `address` is its MAC, empty when it has none."""

    index: int
    name: str
    mtu: int
    is_up: bool
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table with one next hop."""

    destination: str  # "0.0.0.0/0"
    interface: str
    gateway: str | None
    priority: int
    metrics: tuple[tuple[str, int], ...]
    prefsrc: str | None = None
    protocol: int = 0
    scope: int = 0
    tos: int = 0
    flags: int = 0

    @property
    def name(self) -> str:
        """What tells it from every other route, in words."""
        via = f" via {self.gateway}" if self.gateway else ""
        metric = f" metric {self.priority}" if self.priority else ""
        return f"{self.destination}{via} dev {self.interface}{metric}"


@contextlib.contextmanager
def _socket(step: str) -> Iterator[Any]:
    """An rtnetlink socket; its errors become HostErrors that name the step."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as socket:
            yield socket
    except NetlinkError as error:
        hint = ": run as root" if error.code == errno.EPERM else ""
        raise HostError(f"cannot {step}: {error.args[-1]}{hint}") from error


def link(name: str) -> Link | None:
    """The interface of that name."""
    with _socket(f"look at {name}") as socket:
        for message in socket.get_links():
            if message.get("ifname") == name:
                return Link(
                    message["index"],
                    name,
                    message.get("mtu"),
                    bool(message["flags"] & IFF_UP),
                    message.get("address") or "",
                )
    return None


def existing_link(name: str) -> Link:
    """The interface of that name, or HostError with the ones that there are."""
    found = link(name)
    if found is None:
        with _socket("list interfaces") as socket:
            names = ", ".join(sorted(message.get("ifname") for message in socket.get_links()))
        raise HostError(f"there is no interface {name} here: there are {names}")
    return found


def set_up(interface: str, up: bool) -> None:
    """Bring an interface up or down."""
    step = f"set {interface} {'up' if up else 'down'}"
    with _socket(step) as socket:
        socket.link("set", index=existing_link(interface).index, state="up" if up else "down")


def addresses() -> dict[IPv4Address, str]:
    """Every IPv4 address of this namespace and its interface."""
    with _socket("list addresses") as socket:
        names = {message["index"]: message.get("ifname") for message in socket.get_links()}
        return {
            IPv4Address(message.get("local") or message.get("address")): names[message["index"]]
            for message in socket.get_addr(family=2)
        }


def add_address(address: IPv4Address, interface: str, scope: int) -> None:
    """address/32 on the interface."""
    with _socket(f"add {address} to {interface}") as socket:
        socket.addr(
            "add",
            index=existing_link(interface).index,
            address=str(address),
            prefixlen=32,
            scope=scope,
        )


def delete_address(address: IPv4Address, interface: str, prefix: int = 32) -> None:
    """address/prefix off the interface."""
    with _socket(f"delete {address} from {interface}") as socket:
        index = existing_link(interface).index
        socket.addr("delete", index=index, address=str(address), prefixlen=prefix)


def routes() -> list[Route]:
    """The unicast routes of the main table. Those with several next hops are left out."""
    found = []
    with _socket("list routes") as socket:
        names = {message["index"]: message.get("ifname") for message in socket.get_links()}
        for message in socket.get_routes(family=2, table=MAIN_TABLE):
            if message["type"] != RTN_UNICAST or message.get("oif") is None:
                continue
            found.append(
                Route(
                    destination=f"{message.get('dst') or '0.0.0.0'}/{message['dst_len']}",
                    interface=names[message.get("oif")],
                    gateway=message.get("gateway"),
                    priority=message.get("priority") or 0,
                    metrics=_metrics(message),
                    prefsrc=message.get("prefsrc"),
                    protocol=message["proto"],
                    scope=message["scope"],
                    tos=message["tos"],
                    flags=message["flags"],
                )
            )
    return found


def _metrics(message: Any) -> tuple[tuple[str, int], ...]:
    metrics = message.get("metrics")
    if not metrics:
        return ()
    return tuple(
        sorted((name.removeprefix("RTAX_").lower(), value) for name, value in metrics["attrs"])
    )


def set_metrics(route: Route, metrics: Metrics) -> None:
    """Put that route back with these metrics and everything else as it is."""
    wanted: dict[str, Any] = {
        "dst": route.destination,
        "oif": existing_link(route.interface).index,
        "gateway": route.gateway,
        "priority": route.priority or None,
        "prefsrc": route.prefsrc,
        "proto": route.protocol,
        "scope": route.scope,
        "tos": route.tos or None,
        "flags": route.flags & 4 or None,  # RTNH_F_ONLINK; the others are the kernel's
        "table": MAIN_TABLE,
        "metrics": metrics or None,
    }
    with _socket(f"change the route {route.name}") as socket:
        socket.route(
            "replace", **{key: value for key, value in wanted.items() if value is not None}
        )


def way_to(address: IPv4Address) -> tuple[str, str | None] | None:
    """(interface, gateway) of the route to an address; None without one."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as socket:
        try:
            message = socket.route("get", dst=str(address))[0]
        except NetlinkError:
            return None
        if message["type"] in RTN_UNREACHABLE_TYPES:
            return None
        names = {found["index"]: found.get("ifname") for found in socket.get_links()}
        return names[message.get("oif")], message.get("gateway")
