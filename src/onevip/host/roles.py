"""Real server and director: which settings each needs, and start, stop and status of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from onevip.host import arp, netlink, sysctl
from onevip.host.keeping import Keeper, names
from onevip.host.settings import (
    SCOPE_HOST,
    SCOPE_UNIVERSE,
    Address,
    Decapsulation,
    Decapsulator,
    Forwarding,
    LinkUp,
    NoStrictSource,
    Setting,
    Sysctl,
    of_route,
    refuse_elsewhere,
)
from onevip.model import ForwardingMethod

GARP_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Role:
    """What this host is to be for one VIP."""

    vip: IPv4Address
    method: ForwardingMethod
    interface: str
    is_director: bool

    @property
    def user(self) -> str:
        """Its name in the kept state."""
        return f"{'director' if self.is_director else 'real'} {self.vip}"


def real_server_settings(role: Role, decapsulator: Decapsulator) -> list[Setting]:
    """What every guide does by hand on a real server. Empty for masq."""
    if role.method is ForwardingMethod.MASQ:
        return []
    # Before the VIP is there, so that it is never answered for.
    settings: list[Setting] = [
        Sysctl(sysctl.of_interface(interface, name), value, at_least=True)
        for interface in dict.fromkeys(("all", role.interface))
        for name, value in (("arp_ignore", 1), ("arp_announce", 2))
    ]
    settings.append(NoStrictSource())
    if role.method is ForwardingMethod.IPIP:
        settings += [of_route(route) for route in netlink.routes() if route.interface != "lo"]
        settings.append(Decapsulation(str(role.vip), decapsulator))
    # Scope host: the VIP is never chosen as the source of the real server's own connections.
    return [
        *settings,
        LinkUp(role.interface),
        Address(str(role.vip), role.interface, SCOPE_HOST),
    ]


def director_settings(role: Role) -> list[Setting]:
    """The VIP on its interface, and what masq needs beside it."""
    settings: list[Setting] = []
    if role.method is ForwardingMethod.MASQ:
        settings.append(Forwarding())
        # With clients and real servers on one network a redirect would lead replies past the
        # director. It is sent when either of the two says so.
        settings += [
            Sysctl(sysctl.of_interface(interface, "send_redirects"), 0)
            for interface in ("all", role.interface)
        ]
    return [*settings, Address(str(role.vip), role.interface, SCOPE_UNIVERSE)]


Settings = Callable[[Role], list[Setting]]


def start(role: Role, settings: Settings, keeper: Keeper) -> Iterator[str]:
    """Set up what is missing; says each change. A second start changes nothing.

    Raises HostError; what a first start had done before that is put back.
    """
    link = netlink.existing_link(role.interface)
    if role.is_director:
        refuse_elsewhere(role.vip, role.interface, "a director's VIP is on one interface")
    elif role.method is not ForwardingMethod.MASQ:
        refuse_elsewhere(role.vip, role.interface, "a real server would answer ARP for it")
    wanted = settings(role)
    is_first = role.user not in keeper.users
    keeper.remember(role.user, {"method": role.method.name.lower(), "interface": role.interface})
    try:
        for setting in wanted:
            change = keeper.acquire(role.user, setting)
            if change is not None:
                yield f"set: {change}"
    except (Exception, KeyboardInterrupt):
        if is_first:
            for _ in stop(role.user, keeper):
                pass
        raise
    # Another method or interface than at the last start.
    yield from keeper.release(role.user, but=names(wanted))
    if role.is_director:
        yield from _announce(role, link)
    yield from advice(role)


def _announce(role: Role, link: netlink.Link) -> Iterator[str]:
    if not link.is_up:
        yield f"{link.name} is down: nobody has been told that {role.vip} is here"
    elif arp.can_announce(link.address):
        arp.announce(role.vip, link.name, link.address, GARP_FRAMES)
        yield f"told the neighbours on {link.name} that {role.vip} is at {link.address}"


def stop(user: str, keeper: Keeper) -> Iterator[str]:
    """Put back what was there before the first start; says each change."""
    yield from keeper.release(user)
    keeper.forget(user)


def status(role: Role, settings: Settings) -> Iterator[tuple[bool, str]]:
    """(whether it serves, in words) of each setting."""
    netlink.existing_link(role.interface)
    for setting in settings(role):
        now = setting.now()
        is_met = setting.is_met(now)
        words = setting.in_words(now)
        if not is_met:
            words += f" (wanted: {setting.in_words(setting.wanted(now))})"
        yield is_met, words
    if role.method is ForwardingMethod.MASQ and not role.is_director:
        place = netlink.addresses().get(role.vip)
        yield (
            place is None,
            f"{role.vip} is on {place or 'no interface'} (masq: it must be on none)",
        )


def advice(role: Role) -> Iterator[str]:
    """What cannot be set here, or should be known."""
    if role.is_director:
        strict = sysctl.strict_interfaces()
        if strict and role.method is not ForwardingMethod.MASQ:
            yield (
                f"rp_filter is strict on {', '.join(strict)}: packets that the director forwards"
                " are taken before it; it matters only to a real server on this host"
            )
    elif role.method is ForwardingMethod.MASQ:
        default = [route.gateway for route in netlink.routes() if route.destination == "0.0.0.0/0"]
        now = f"now {default[0]}" if default and default[0] else "now none"
        yield (
            "masq needs nothing here but the way back: replies must pass the director, so this"
            f" host's route to the clients must lead through it (default gateway: {now})"
        )
