"""A snapshot as the text of `ipvsadm -L` (spec ipvs §10.7). Pure, but for asking for names."""

# ruff: noqa: PLC0415 - with -n no socket module is needed.

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from onevip.model.service import (
    Counters,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
    VirtualService,
    endpoint_text,
)

if TYPE_CHECKING:
    from onevip.engines.base import Snapshot

# The size is the kernel's default; scripts expect the line, nobody the number.
HEADER = "IP Virtual Server version 1.2.1 (size=4096)"

_FORWARD = {
    ForwardingMethod.MASQ: "Masq",
    ForwardingMethod.LOCAL: "Local",
    ForwardingMethod.IPIP: "Tunnel",
    ForwardingMethod.GATE: "Route",
}

_NO_COUNTERS = Counters()


class Format(NamedTuple):
    """One layout of the listing: its titles, and what follows a name in each kind of row."""

    titles: tuple[str, str]
    service: Callable[[str, VirtualService, Counters, Number], str]
    real: Callable[[RealServer, Counters, Number], str]


Number = Callable[[int], str]


def short_number(value: int) -> str:
    """Nine columns, as the original: thousands, millions … are cut, not rounded."""
    for limit, unit, letter in (
        (10**8, 1, ""),
        (10**9, 10**3, "K"),
        (10**11, 10**6, "M"),
        (10**14, 10**9, "G"),
    ):
        if value < limit:
            return f"{value // unit:8}{letter}".rjust(9)
    return f"{value // 10**12:8}T"


def exact_number(value: int) -> str:
    """All digits, at least nine columns with a leading blank (`--exact`)."""
    return f" {value:8}"


def _scheduler(name: str, service: VirtualService, _counters: Counters, _number: Number) -> str:
    return f"{name} {service.scheduler}"


def _totals(counters: Counters, number: Number) -> str:
    return "".join(
        number(value)
        for value in (
            counters.connections,
            counters.in_packets,
            counters.out_packets,
            counters.in_bytes,
            counters.out_bytes,
        )
    )


def _plain(real: RealServer, counters: Counters, _number: Number) -> str:
    forward = _FORWARD[real.method]
    return f"{forward:<7} {real.weight:<6} {counters.active:<10} {counters.inactive:<10}"


_REMOTE = "  -> RemoteAddress:Port"

FORMATS = {
    "stats": Format(
        (
            f"{'Prot LocalAddress:Port':<33}    Conns   InPkts  OutPkts  InBytes OutBytes",
            _REMOTE,
        ),
        lambda name, _service, counters, number: f"{name:<33}{_totals(counters, number)}",
        lambda _real, counters, number: _totals(counters, number),
    ),
    "thresholds": Format(
        (
            f"{'Prot LocalAddress:Port':<33} Uthreshold Lthreshold ActiveConn InActConn ",
            _REMOTE,
        ),
        _scheduler,
        lambda _real, counters, _number: (
            f" {0:<10} {0:<10} {counters.active:<10} {counters.inactive:<10}"
        ),
    ),
    "persistent-conn": Format(
        (
            f"{'Prot LocalAddress:Port':<33} Weight    PersistConn ActiveConn InActConn ",
            _REMOTE,
        ),
        _scheduler,
        lambda real, counters, _number: (
            f" {real.weight:<9} {counters.persistent:<11} {counters.active:<10}"
            f" {counters.inactive:<10}"
        ),
    ),
    "plain": Format(
        (
            "Prot LocalAddress:Port Scheduler Flags",
            f"{_REMOTE}           Forward Weight ActiveConn InActConn",
        ),
        _scheduler,
        lambda real, counters, number: f" {_plain(real, counters, number)}",
    ),
}


def lines(
    snapshot: Snapshot,
    layout: Format,
    *,
    numeric: bool,
    exact: bool,
    in_order: bool,
    header: bool,
) -> Iterator[str]:
    """The lines of the listing. `in_order`: sorted as the original sorts, else as the table is."""
    number = exact_number if exact else short_number
    if header:
        yield HEADER
    yield from layout.titles
    services: Iterable[VirtualService] = snapshot.table
    for service in _sorted_services(services) if in_order else services:
        key = service.key
        counters = snapshot.counters.get((key, None), _NO_COUNTERS)
        name = f"{key.protocol.name:<4} {_name(key, key, numeric)}"
        yield layout.service(_cut(name, 33, key), service, counters, number)
        for real in _sorted_reals(service) if in_order else reversed(service.real_servers):
            counters = snapshot.counters.get((key, real.key), _NO_COUNTERS)
            name = _cut(_name(real, key, numeric), 28, real)
            yield f"  -> {name:<28}{layout.real(real, counters, number)}"


def _cut(name: str, columns: int, of: ServiceKey | RealServer) -> str:
    return name if of.address.version == 6 else name[:columns]


def _name(endpoint: ServiceKey | RealServer, service: ServiceKey, numeric: bool) -> str:
    if numeric:
        return endpoint_text(endpoint.address, endpoint.port)
    return named(endpoint.address, endpoint.port, service.protocol)


def named(address: IPv4Address | IPv6Address, port: int, protocol: Protocol) -> str:
    """Host and service by name."""
    import socket

    flags = socket.NI_DGRAM if protocol.name == "UDP" else 0
    host, service = socket.getnameinfo((str(address), port), flags)
    return f"[{host}]:{service}" if address.version == 6 else f"{host}:{service}"


def _sorted_services(services: Iterable[VirtualService]) -> list[VirtualService]:
    def compare(one: VirtualService, other: VirtualService) -> int:
        return (
            one.key.address.version - other.key.address.version
            or one.key.protocol - other.key.protocol
            or _difference(one.key, other.key)
        )

    return sorted(services, key=functools.cmp_to_key(compare))


def _sorted_reals(service: VirtualService) -> list[RealServer]:
    def compare(one: RealServer, other: RealServer) -> int:
        return one.address.version - other.address.version or _difference(one, other)

    return sorted(service.real_servers, key=functools.cmp_to_key(compare))


def _difference(one: ServiceKey | RealServer, other: ServiceKey | RealServer) -> int:
    """Order of two endpoints of one family.

    The original subtracts 32-bit words and reads the result as a signed int: 192.0.2.1 comes
    before 10.0.0.1.
    """
    for shift in range(32 * 3 if one.address.version == 6 else 0, -1, -32):
        word = ((int(one.address) >> shift) - (int(other.address) >> shift)) & 0xFFFFFFFF
        if word:
            return word - 2**32 if word >= 2**31 else word
    return one.port - other.port
