"""The settings that a real server or director needs, each with its way there and back.

A setting reads its value as it is `now`, says whether that serves, which value is `wanted`
instead, and makes it so; `make(before)` is the way back. Values are JSON, so that they can be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from typing import Any, ClassVar, Protocol

from onevip.host import netlink, sysctl
from onevip.model import HostError

Value = Any  # JSON; None: what it belongs to (an interface, a route) is not there

SCOPE_UNIVERSE = 0
SCOPE_HOST = 254

IPIP_HEADER = 20
IP_AND_TCP_HEADERS = 40


class Setting(Protocol):
    """One thing of this host that can be set and put back."""

    kind: ClassVar[str]

    def arguments(self) -> dict[str, Value]:
        """What makes the same setting again."""
        ...

    def now(self) -> Value:
        """Its value at this moment."""
        ...

    def is_met(self, now: Value) -> bool:
        """Whether that value serves."""
        ...

    def wanted(self, now: Value) -> Value:
        """The value to set instead."""
        ...

    def make(self, value: Value) -> None:
        """Set it. Raises HostError when the kernel refuses."""
        ...

    def is_as_made(self, now: Value, made: Value) -> bool:
        """Whether nobody else has changed it since."""
        ...

    def in_words(self, value: Value) -> str:
        """`net.ipv4.conf.all.arp_ignore = 1`."""
        ...


class _Plain:
    """Settings whose value is compared as it is."""

    def arguments(self) -> dict[str, Value]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    def is_as_made(self, now: Value, made: Value) -> bool:
        return bool(now == made)


@dataclass(frozen=True, slots=True)
class Sysctl(_Plain):
    """A number below /proc/sys; `at_least` where a greater one serves as well."""

    kind: ClassVar[str] = "sysctl"
    name: str
    value: int
    at_least: bool = False

    def now(self) -> Value:
        return sysctl.read(self.name)

    def is_met(self, now: Value) -> bool:
        if now is None:
            return False
        return int(now) >= self.value if self.at_least else int(now) == self.value

    def wanted(self, now: Value) -> Value:
        return str(self.value)

    def make(self, value: Value) -> None:
        if value is not None:
            sysctl.write(self.name, value)

    def in_words(self, value: Value) -> str:
        return f"{sysctl.dotted(self.name)} = {value}"


@dataclass(frozen=True, slots=True)
class NoStrictSource(_Plain):
    """No interface drops clients that are routed back through another one (rp_filter 1).

    One value does it: 2 (loose) for `all`, the greatest, beats every interface's own, later ones
    included. Where nothing is strict nothing is changed: 0 is not made stricter.
    """

    kind: ClassVar[str] = "source check"

    def now(self) -> Value:
        return sysctl.read(sysctl.of_interface("all", "rp_filter"))

    def is_met(self, now: Value) -> bool:
        return not sysctl.strict_interfaces()

    def wanted(self, now: Value) -> Value:
        return "2"

    def make(self, value: Value) -> None:
        sysctl.write(sysctl.of_interface("all", "rp_filter"), value)

    def in_words(self, value: Value) -> str:
        return f"{sysctl.dotted(sysctl.of_interface('all', 'rp_filter'))} = {value}"


@dataclass(frozen=True, slots=True)
class Forwarding(_Plain):
    """ip_forward = 1. Changing it resets other settings in the kernel, so all of them are kept."""

    kind: ClassVar[str] = "forwarding"
    switch: ClassVar[str] = "net/ipv4/ip_forward"

    def now(self) -> Value:
        names = [
            self.switch,
            sysctl.of_interface("all", "accept_redirects"),
            sysctl.of_interface("default", "forwarding"),
            *(sysctl.of_interface(name, "forwarding") for name in sysctl.interfaces()),
        ]
        return {name: sysctl.read(name) for name in names}

    def is_met(self, now: Value) -> bool:
        return bool(now[self.switch] == "1")

    def wanted(self, now: Value) -> Value:
        return {self.switch: "1"}

    def make(self, value: Value) -> None:
        # The switch comes first in the kept value, and overwrites the others.
        for name, number in value.items():
            if sysctl.read(name) not in (None, number):
                sysctl.write(name, number)

    def is_as_made(self, now: Value, made: Value) -> bool:
        return bool(now[self.switch] == made[self.switch])

    def in_words(self, value: Value) -> str:
        return f"{sysctl.dotted(self.switch)} = {value[self.switch]}"


@dataclass(frozen=True, slots=True)
class LinkUp(_Plain):
    """The interface is up; the kernel has no local route for addresses of one that is down.

    Bringing up lo gives it 127.0.0.1, which bringing it down does not take away again.
    """

    kind: ClassVar[str] = "link"
    interface: str

    def now(self) -> Value:
        link = netlink.link(self.interface)
        if link is None:
            return None
        return {"up": link.is_up, "localhost": netlink.LOCALHOST in netlink.addresses()}

    def is_met(self, now: Value) -> bool:
        return bool(now and now["up"])

    def wanted(self, now: Value) -> Value:
        return {**(now or {}), "up": True}

    def make(self, value: Value) -> None:
        netlink.set_up(self.interface, value["up"])
        if not value["up"] and not value["localhost"] and self.now()["localhost"]:
            netlink.delete_address(netlink.LOCALHOST, "lo", prefix=8)

    def is_as_made(self, now: Value, made: Value) -> bool:
        return bool(now["up"] == made["up"])

    def in_words(self, value: Value) -> str:
        return f"{self.interface} is {'up' if value and value['up'] else 'down'}"


@dataclass(frozen=True, slots=True)
class Address(_Plain):
    """VIP/32 on an interface, and on no other."""

    kind: ClassVar[str] = "address"
    address: str
    interface: str
    scope: int

    def now(self) -> Value:
        return netlink.addresses().get(IPv4Address(self.address)) == self.interface

    def is_met(self, now: Value) -> bool:
        return now is True

    def wanted(self, now: Value) -> Value:
        return True

    def make(self, value: Value) -> None:
        if value:
            netlink.add_address(IPv4Address(self.address), self.interface, self.scope)
        elif netlink.link(self.interface) is not None:
            netlink.delete_address(IPv4Address(self.address), self.interface)

    def in_words(self, value: Value) -> str:
        return f"{self.address}/32 is {'' if value else 'not '}on {self.interface}"


@dataclass(frozen=True, slots=True)
class SmallerSegments(_Plain):
    """A route that tells clients to leave room for the tunnel's outer header in each segment.

    The client learns its segment size from the real server's SYN-ACK, which does not pass the
    director, so only the real server can lower it.
    """

    kind: ClassVar[str] = "route"
    destination: str
    interface: str
    gateway: str | None
    priority: int

    def _route(self) -> netlink.Route | None:
        for route in netlink.routes():
            if self == of_route(route):
                return route
        return None

    def now(self) -> Value:
        route = self._route()
        return None if route is None else dict(route.metrics)

    def is_met(self, now: Value) -> bool:
        return now is not None and 0 < now.get("advmss", 0) <= self._largest(now)

    def wanted(self, now: Value) -> Value:
        return {**(now or {}), "advmss": self._largest(now or {})}

    def _largest(self, now: Value) -> int:
        mtu = now.get("mtu") or netlink.existing_link(self.interface).mtu
        return int(mtu) - IPIP_HEADER - IP_AND_TCP_HEADERS

    def make(self, value: Value) -> None:
        route = self._route()
        if route is not None and value is not None:
            netlink.set_metrics(replace(route, metrics=()), value)

    def in_words(self, value: Value) -> str:
        name = netlink.Route(self.destination, self.interface, self.gateway, self.priority, ()).name
        metrics = " ".join(f"{key} {number}" for key, number in (value or {}).items())
        return f"route {name} {metrics or 'without advmss'}"


def of_route(route: netlink.Route) -> SmallerSegments:
    """The setting of that route."""
    return SmallerSegments(route.destination, route.interface, route.gateway, route.priority)


class Decapsulator(Protocol):
    """What takes the outer header off; an engine has it, a command hands it in."""

    def add(self, vip: IPv4Address) -> None: ...
    def remove(self, vip: IPv4Address) -> None: ...
    def vips(self) -> set[IPv4Address]: ...


@dataclass(frozen=True, slots=True)
class Decapsulation(_Plain):
    """Packets for the VIP that come in a tunnel are unpacked, also without tunnel modules."""

    kind: ClassVar[str] = "decapsulation"
    vip: str
    by: Decapsulator

    def arguments(self) -> dict[str, Value]:
        return {"vip": self.vip}

    def now(self) -> Value:
        return IPv4Address(self.vip) in self.by.vips()

    def is_met(self, now: Value) -> bool:
        return now is True

    def wanted(self, now: Value) -> Value:
        return True

    def make(self, value: Value) -> None:
        (self.by.add if value else self.by.remove)(IPv4Address(self.vip))

    def in_words(self, value: Value) -> str:
        return f"packets for {self.vip} are {'' if value else 'not '}unpacked from tunnels"


def kinds(decapsulator: Decapsulator) -> dict[str, Callable[..., Setting]]:
    """What makes a setting again of its kind and arguments."""
    plain: tuple[Callable[..., Setting], ...] = (
        Sysctl,
        NoStrictSource,
        Forwarding,
        LinkUp,
        Address,
        SmallerSegments,
    )
    return {
        **{make.kind: make for make in plain},  # type: ignore[attr-defined]
        Decapsulation.kind: lambda vip: Decapsulation(vip, decapsulator),
    }


def refuse_elsewhere(vip: IPv4Address, interface: str, why: str) -> None:
    """Raises HostError when the VIP is on another interface than it should be."""
    place = netlink.addresses().get(vip)
    if place not in (None, interface):
        raise HostError(f"{vip} is on {place}: {why}, remove it there first")
