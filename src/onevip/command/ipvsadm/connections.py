"""The text of `ipvsadm -Lc` (spec ipvs §10.7). Pure, but for asking for names."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from onevip.command.ipvsadm.listing import named
from onevip.engines.base import Engine, LineFormat
from onevip.model.connection import Connection
from onevip.model.service import Protocol, RealServerKey, ServiceKey

NAMES_KEPT = 1 << 16

_TITLES = "pro expire state       source             virtual            destination"
# There are no persistence engines: the two columns stay empty.
_PERSISTENCE_TITLES = "        pe name          pe_data"


def chunks(engine: Engine, *, numeric: bool, persistent: bool) -> Iterator[str]:
    """The listing, many lines at a time.

    The original prints in the order of the kernel's hash table, and so in no order that anybody
    could rely on; the order here is that of our own table.
    """
    yield f"IPVS connection entries\n{_TITLES}{_PERSISTENCE_TITLES if persistent else ''}\n"
    if numeric:
        yield from engine.connection_lines(NUMERIC)
    else:
        yield from _named_lines(engine.connections())


def _head(protocol: Protocol, state: str, expires_s: int, _active: bool, _template: bool) -> str:
    expires = f"{expires_s // 60:02}:{expires_s % 60:02}"
    return f"{protocol.name:<3} {expires:<6} {state:<11} "


def _tail(service: ServiceKey, real_server: RealServerKey) -> str:
    return f" {str(service).partition(' ')[2]:<18} {real_server}\n"


NUMERIC = LineFormat(_head, _tail, client_width=18)


def _named_lines(connections: Iterator[Connection]) -> Iterator[str]:
    name = functools.lru_cache(NAMES_KEPT)(named)  # a resolver may take its time
    for one in connections:
        head = _head(one.protocol, one.state, one.expires_s, one.active, one.template)
        client = name(one.client, one.client_port, one.protocol)
        virtual = name(one.vip, one.vip_port, one.protocol)
        real = name(one.real, one.real_port, one.protocol)
        yield f"{head}{client:<18} {virtual:<18} {real}\n"
