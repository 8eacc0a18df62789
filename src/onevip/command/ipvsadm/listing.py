"""A snapshot as the text of `ipvsadm -L` (spec ipvs §10.7). Pure, but for asking for names."""

# ruff: noqa: PLC0415 - with -n no socket module is needed.

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from onevip.command.ipvsadm.formats import Format, exact_number, short_number
from onevip.model.service import (
    Counters,
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

_NO_COUNTERS = Counters()


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
        yield layout.service(_service_name(key, numeric), service, counters, number)
        for real in _sorted_reals(service) if in_order else reversed(service.real_servers):
            counters = snapshot.counters.get((key, real.key), _NO_COUNTERS)
            name = _cut(_name(real, key, numeric), 28, real)
            yield f"  -> {name:<28}{layout.real(real, counters, number)}"


def _service_name(key: ServiceKey, numeric: bool) -> str:
    if key.mark:
        return f"FWM  {key.mark}" + (" IPv6" if key.address.version == 6 else "")
    return _cut(f"{key.protocol.name:<4} {_name(key, key, numeric)}", 33, key)


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
            _signed(one.key.mark - other.key.mark)
            or one.key.address.version - other.key.address.version
            or one.key.protocol - other.key.protocol
            or _difference(one.key, other.key)
        )

    return sorted(services, key=functools.cmp_to_key(compare))


def _sorted_reals(service: VirtualService) -> list[RealServer]:
    def compare(one: RealServer, other: RealServer) -> int:
        return one.address.version - other.address.version or _difference(one, other)

    return sorted(service.real_servers, key=functools.cmp_to_key(compare))


def _difference(one: ServiceKey | RealServer, other: ServiceKey | RealServer) -> int:
    """Order of two endpoints of one family."""
    for shift in range(32 * 3 if one.address.version == 6 else 0, -1, -32):
        word = _signed((int(one.address) >> shift) - (int(other.address) >> shift))
        if word:
            return word
    return one.port - other.port


def _signed(difference: int) -> int:
    """The original subtracts 32-bit words and reads the result as a signed int.

    192.0.2.1 comes before 10.0.0.1.
    """
    word = difference & 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word
