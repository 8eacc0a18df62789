"""The values of ipvsadm's options: numbers, addresses, ports (spec ipvs §10.4). Refuses by None."""

# ruff: noqa: PLC0415 - a numeric address, the usual case, does without socket.

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from onevip.model.service import Protocol

# strtol(3) in base 10 over the whole text.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


class Endpoint(NamedTuple):
    """`address[:port]`; port is None when it was not given."""

    address: IPv4Address | IPv6Address
    port: int | None


def number(text: str, lowest: int, highest: int) -> int | None:
    """The decimal number of that text, if it lies between lowest and highest."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    value = int(match[1])
    return value if lowest <= value <= highest else None


def endpoint(text: str, protocol: Protocol | None) -> Endpoint | None:
    """`A.B.C.D[:port]`, `host[:port]` (IPv4 only), `[v6]:port` or a bare v6 address.

    A port may be a service name of `protocol`. A host name asks the resolver.
    """
    if re.fullmatch("[0-9]*", text):
        return None
    host, port = text, None
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]:")
        if not bracket:
            return None
    address: IPv4Address | IPv6Address | None = _ipv6(host)
    if address is None:
        if port is None and ":" in host:
            host, _, port = host.rpartition(":")
        address = _ipv4(host)
    if address is None:
        return None
    if port is None:
        return Endpoint(address, None)
    found = number(port, 0, 65535)
    if found is None:
        found = _service_port(port, protocol)
    return None if found is None else Endpoint(address, found)


def ipv4(text: str) -> IPv4Address | None:
    """An IPv4 address as inet_aton reads it, or a host name's first one."""
    return _ipv4(text)


def _ipv6(text: str) -> IPv6Address | None:
    if ":" not in text or "%" in text:
        return None
    try:
        return IPv6Address(text)
    except AddressValueError:
        return None


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return _resolved(text)


def _resolved(text: str) -> IPv4Address | None:
    import socket

    try:
        return IPv4Address(socket.inet_aton(text))  # "10.1" and "0x7f.1" are addresses too
    except OSError:
        pass
    if not text or text.startswith("<"):
        return None  # Python's own names for "any" and "broadcast"
    try:
        return IPv4Address(socket.gethostbyname(text))
    except (OSError, UnicodeError):
        return None


def _service_port(name: str, protocol: Protocol | None) -> int | None:
    if protocol is None:
        return None
    import socket

    try:
        return socket.getservbyname(name, protocol.name.lower())
    except OSError:
        return None
