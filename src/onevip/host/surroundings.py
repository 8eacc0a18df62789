"""What around the director would keep its table from working: one line each, none of it fatal."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

from onevip.host import firewall, netlink, sysctl
from onevip.model import ForwardingMethod, RealServer, Table


def look(table: Table) -> list[str]:
    """Warnings about this network namespace, seen from that table. Blocks for some 0.1 s."""
    # pyroute2 runs an event loop of its own, which it cannot in the thread of the daemon's.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_look, table).result()


def _look(table: Table) -> list[str]:
    keys = [service.key for service in table if not service.key.mark]
    vips = sorted({key.address for key in keys if isinstance(key.address, IPv4Address)})
    reals = list({real.key: real for service in table for real in service.real_servers}.values())
    return [
        *_missing_vips(vips),
        *_forwarding_off(reals),
        *_unreachable(reals),
        *_strict_source_check(reals),
        *firewall.warnings(vips),
    ]


def _missing_vips(vips: list[IPv4Address]) -> Iterator[str]:
    here = netlink.addresses()
    for vip in vips:
        if vip not in here:
            yield (
                f"VIP {vip} is on no interface: normal on a standby, else"
                f" onevip director start --vip {vip} --dev DEV"
            )


def _forwarding_off(reals: list[RealServer]) -> Iterator[str]:
    masq = [real for real in reals if real.method is ForwardingMethod.MASQ]
    if masq and sysctl.read("net/ipv4/ip_forward") == "0":
        yield (
            f"net.ipv4.ip_forward is 0, and {masq[0].address} is a masq real server: what is not"
            " a reply of a connection does not leave its network"
        )


def _unreachable(reals: list[RealServer]) -> Iterator[str]:
    gate = {real.address for real in reals if real.method is ForwardingMethod.GATE}
    for address in sorted({real.address for real in reals}, key=int):
        if not isinstance(address, IPv4Address):
            continue
        way = netlink.way_to(address)
        if way is None:
            yield f"there is no route to real server {address}"
        elif way[1] is not None and address in gate:
            yield (
                f"real server {address} is behind router {way[1]}: gate reaches only servers on"
                f" the director's own networks ({way[0]}), ipip reaches all"
            )


def _strict_source_check(reals: list[RealServer]) -> Iterator[str]:
    """It meets only packets that go up to this host; the others are taken before it."""
    here = netlink.addresses()
    local = [real for real in reals if real.address.is_loopback or real.address in here]
    strict = [name for name in sysctl.strict_interfaces() if name != "lo"]
    if local and len(strict) > 1:
        yield (
            f"rp_filter is strict on {', '.join(strict)}: clients that are routed back through"
            f" another interface do not reach {local[0].address} on this host"
        )
