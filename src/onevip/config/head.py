"""The line `virtual=`: an address and a port, or a firewall mark (spec ldirectord §3.1)."""

from __future__ import annotations

import re
from typing import NamedTuple

from onevip.config.names import to_port
from onevip.config.place import Place
from onevip.model import Protocol, ServiceKey

_ADDRESS_AND_PORT = re.compile(r"([A-Za-z0-9_.+-]+):([A-Za-z0-9_.+-]+)")
_FIREWALL_MARK = re.compile(r"([0-9]+)(\.?)")


class Head(NamedTuple):
    """What stands after `virtual=`: host and port as written, or else a firewall mark."""

    host: str = ""
    port: str = ""
    mark: int = 0

    def key(self, place: Place, protocol: str | None) -> ServiceKey:
        """The service of that name; `protocol` as its section gives it. Raises ConfigError.

        Looked up when the whole section is read: a named port depends on the protocol.
        """
        if self.mark:
            return ServiceKey.of_mark(self.mark)
        protocol = protocol or ("udp" if self.port in ("53", "domain") else "tcp")
        vip = place.source.resolve(self.host)
        port = to_port(self.port, protocol, place.source.port_of)
        if vip is None or port is None:
            wrong = f"the host {self.host}" if vip is None else f"the {protocol} port {self.port}"
            raise place.error("invalid address for virtual service", f"{wrong} is not known")
        return ServiceKey(Protocol[protocol.upper()], vip, port)


def read(place: Place) -> Head:
    """The head of a section. Raises ConfigError."""
    parts = place.line.directive()
    value = parts[1] if parts else ""
    if parts and parts[0] == "virtual6":
        raise place.not_yet("directive 'virtual6'")
    if value.startswith("["):
        raise place.error('cannot specify an IPv6 address here. please use "virtual6" instead.')
    match = _ADDRESS_AND_PORT.match(value)  # what follows the port is ignored
    if match:
        return Head(host=match[1], port=match[2])
    match = _FIREWALL_MARK.match(value)
    if match is None:
        raise place.error("invalid address for virtual server")
    mark = int(match[1][:11])
    if not 0 < mark < 2**32:
        raise place.error(f"firewall mark {match[1]} is not in 1..{2**32 - 1}")
    if match[2]:
        place.warn(
            f"{value} has no port, so it is no address but firewall mark {mark}, as in ldirectord:"
            " an address needs its port, as in virtual=192.0.2.1:80"
        )
    return Head(mark=mark)
