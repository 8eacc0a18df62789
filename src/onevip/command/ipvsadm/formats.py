"""The layouts of `ipvsadm -L`: titles and rows, as text (spec ipvs §10.7). Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from onevip.model.scheduler_flags import words_of_flags
from onevip.model.service import Counters, ForwardingMethod, RealServer, VirtualService

_FORWARD = {
    ForwardingMethod.MASQ: "Masq",
    ForwardingMethod.LOCAL: "Local",
    ForwardingMethod.IPIP: "Tunnel",
    ForwardingMethod.GATE: "Route",
}

Number = Callable[[int], str]


class Format(NamedTuple):
    """One layout of the listing: its titles, and what follows a name in each kind of row."""

    titles: tuple[str, str]
    service: Callable[[str, VirtualService, Counters, Number], str]
    real: Callable[[RealServer, Counters, Number], str]


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


def _service(name: str, service: VirtualService, _counters: Counters, _number: Number) -> str:
    """`TCP  192.0.2.1:80 sh (sh-port) persistent 300 mask 255.255.255.0`."""
    options = service.options
    text = f"{name} {service.scheduler}"
    if options.flags:
        text += f" ({','.join(words_of_flags(service.scheduler, options.flags))})"
    if options.persistent_s:
        text += f" persistent {options.persistent_s}"
        text += f" mask {_mask(options.netmask)}" if options.netmask is not None else ""
    return f"{text} ops" if options.one_packet else text


def _mask(netmask: IPv4Address | IPv6Address) -> str:
    """`255.255.255.0`; of IPv6 the length of the prefix."""
    return str(netmask if netmask.version == 4 else int(netmask).bit_count())


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


def _rates(counters: Counters, number: Number) -> str:
    return "".join(
        number(value)
        for value in (
            counters.connections_rate,
            counters.in_packets_rate,
            counters.out_packets_rate,
            counters.in_bytes_rate,
            counters.out_bytes_rate,
        )
    )


def _real_rates(counters: Counters, number: Number) -> str:
    """The first three of a real server are never shortened, those of a service are."""
    packets = (counters.connections_rate, counters.in_packets_rate, counters.out_packets_rate)
    size = number(counters.in_bytes_rate) + number(counters.out_bytes_rate)
    return "".join(map(exact_number, packets)) + size


_LOCAL = f"{'Prot LocalAddress:Port':<33}"
_REMOTE = "  -> RemoteAddress:Port"

#: By the option that asks for it; of several given ones the first here is printed.
FORMATS = {
    "stats": Format(
        (f"{_LOCAL}    Conns   InPkts  OutPkts  InBytes OutBytes", _REMOTE),
        lambda name, _service, counters, number: f"{name:<33}{_totals(counters, number)}",
        lambda _real, counters, number: _totals(counters, number),
    ),
    "rate": Format(
        (f"{_LOCAL}      CPS    InPPS   OutPPS    InBPS   OutBPS", _REMOTE),
        lambda name, _service, counters, number: f"{name:<33}{_rates(counters, number)}",
        lambda _real, counters, number: _real_rates(counters, number),
    ),
    "thresholds": Format(
        (f"{_LOCAL} Uthreshold Lthreshold ActiveConn InActConn ", _REMOTE),
        _service,
        lambda real, counters, _number: (
            f" {real.upper_threshold:<10} {real.lower_threshold:<10} {counters.active:<10}"
            f" {counters.inactive:<10}"
        ),
    ),
    "persistent-conn": Format(
        (f"{_LOCAL} Weight    PersistConn ActiveConn InActConn ", _REMOTE),
        _service,
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
        _service,
        lambda real, counters, _number: (
            f" {_FORWARD[real.method]:<7} {real.weight:<6} {counters.active:<10}"
            f" {counters.inactive:<10}"
        ),
    ),
}
