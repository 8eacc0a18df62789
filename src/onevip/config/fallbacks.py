"""The grammar of `fallback=`, and what it shares with `real=`: methods, ports, hosts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from onevip.config.names import Address, to_port
from onevip.config.place import Place
from onevip.config.values import did_you_mean
from onevip.model import ForwardingMethod

METHODS = {
    "gate": ForwardingMethod.GATE,
    "masq": ForwardingMethod.MASQ,
    "ipip": ForwardingMethod.IPIP,
}
METHOD_ERROR = "forward method must be gate, masq or ipip"
PORT = r"[A-Za-z0-9_-]+"
_FALLBACK = re.compile(r"(\S+)(?:\s+(\S+))?\s*$", re.ASCII)
_FALLBACK_PORT = re.compile(rf":({PORT})$")


@dataclass(frozen=True, slots=True)
class FallbackLine:
    """A `fallback=` line. Its host and port are looked up when the protocol is known."""

    place: Place
    host: str
    port_text: str
    method: ForwardingMethod

    def address(self, version: int) -> Address:
        """Raises ConfigError when the host has none of this IP version.

        No host at all is this machine, as in ldirectord.
        """
        if not self.host:
            return ip_address("127.0.0.1" if version == 4 else "::1")
        address = resolved(self.host, version, self.place)
        if address is None:
            raise self.place.error(
                f"invalid IPv{version} address or could not resolve for fallback server: "
                f"{self.host}",
                at=self.host,
            )
        return address

    def port(self, protocol: str) -> int:
        """The port written, 0 when none is. Raises ConfigError when it has no number."""
        if self.port_text in ("", "0"):
            return 0
        port = to_port(self.port_text, protocol, self.place.source.world.port_of)
        if port is None:
            raise self.place.error("invalid port for fallback server", at=self.port_text)
        return port


def fallback(value: str, place: Place) -> FallbackLine:
    """`<host>[:<port>] [gate|masq|ipip]`."""
    match = _FALLBACK.search(value)
    endpoint, method = (match[1], match[2]) if match else (value, None)
    port = _FALLBACK_PORT.search(endpoint)
    host = endpoint[: port.start()] if port else endpoint
    if method and method not in METHODS:
        raise place.error(METHOD_ERROR, did_you_mean(method.lower(), METHODS), at=method)
    return FallbackLine(place, host, port[1] if port else "", METHODS[method or "gate"])


def global_fallback(version: int) -> Callable[[str, Place], FallbackLine]:
    """The same as a global line, which is for services of both protocols: both know its port."""

    def read(value: str, place: Place) -> FallbackLine:
        line = fallback(value, place)
        line.address(version)
        for protocol in ("tcp", "udp"):
            line.port(protocol)
        return line

    return read


def resolved(host: str, version: int, place: Place) -> Address | None:
    """The address of a host as a line gives it, in brackets or not; None when it has none."""
    bracketed = re.search(r"\[(.*)\]", host)
    return place.source.world.resolve(bracketed[1] if bracketed else host, version)
