"""Persistence: templates lead all connections of a client's network to one real server (§5.1).

A template is never asked by its client's packets, only by those that open connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from onevip.model import Connection, Protocol
from onevip.model.connection import TEMPLATE_STATES
from onevip.reference.agenda import Agenda
from onevip.reference.packet import Packet
from onevip.reference.real_server import LiveRealServer
from onevip.reference.services import FTP, LiveService
from onevip.schedulers.scheduler import Address

Key = tuple[Protocol, Address, Address, int]  # protocol, client's network, VIP, port
DISABLED_PORT = 0xFFFF  # that a template which is used no more shows
REARMED_S = 60.0


@dataclass(eq=False)
class Template:
    """One client network's. `connections`: how many it led that still are."""

    key: Key
    server: LiveRealServer
    real_port: int
    timeout_s: float
    last_use: float
    connections: int = 0
    is_assured: bool = False
    is_disabled: bool = False  # no packet finds it; it ends in its time

    @property
    def ends_at(self) -> float:
        return self.last_use + self.timeout_s


def serves_own_port(service: LiveService, packet: Packet) -> bool:
    """The packet goes to the very port of its service, not to one that the service covers too."""
    return not service.key.mark and packet.destination_port == service.key.port


def key_of(service: LiveService, packet: Packet) -> Key:
    """Of a mark: all that bears it. Of port 0 and of FTP: every port. Else that port."""
    network = service.options.network_of(packet.source)
    if service.key.mark:
        return Protocol.IP, network, address_of_mark(service.key.mark, network.version), 0
    own_port = serves_own_port(service, packet) and service.key.port != FTP
    port = packet.destination_port if own_port else 0
    return packet.protocol, network, packet.destination, port


def address_of_mark(mark: int, version: int) -> Address:
    """The mark in the place of the VIP: the kernel writes it into the first 32 bits."""
    return IPv4Address(mark) if version == 4 else IPv6Address(mark << 96)


class Templates:
    """All of them: those in use by key, and every one that has not ended."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._usable: dict[Key, Template] = {}
        self._all: dict[Template, None] = {}  # a set that keeps its order

    def __iter__(self) -> Iterator[Template]:
        return iter(tuple(self._all))

    def find(self, key: Key, expire_quiescent: bool) -> Template | None:
        """That of the key; one whose real server may not be used is disabled (§5.2).

        Weight 0 and overload do not matter: templates come before schedulers.
        """
        template = self._usable.get(key)
        if template is None:
            return None
        server = template.server
        if not server.available or (expire_quiescent and not server.weight):
            template.is_disabled = True
            del self._usable[key]
            return None
        return template

    def open(self, service: LiveService, packet: Packet, server: LiveRealServer) -> Template:
        key = key_of(service, packet)
        template = Template(
            key, server, server.port if key[3] else 0, service.options.persistent_s,
            self._agenda.now,
        )  # fmt: skip
        server.bind_template()
        self._all[template] = None
        self._usable[key] = template
        return template

    def touch(self, template: Template) -> None:
        """A connection was opened by it: its time begins again."""
        template.last_use = self._agenda.now
        self._watch(template)

    def end(self, template: Template) -> None:
        if self._usable.get(template.key) is template:
            del self._usable[template.key]
        del self._all[template]
        template.server.unbind_template()

    def shown(self, template: Template) -> Connection:
        """As `ipvsadm -Lc` lists it now."""
        protocol, network, vip, port = template.key
        real_port = template.real_port
        if template.is_disabled:
            port = real_port = DISABLED_PORT
        return Connection(
            protocol, network, 0, vip, port, template.server.address, real_port,
            TEMPLATE_STATES[template.is_assured],
            max(0, int(template.ends_at - self._agenda.now)), template=True,
        )  # fmt: skip

    def _watch(self, template: Template) -> None:
        self._agenda.at(template.ends_at, partial(self._end_if_due, template))

    def _end_if_due(self, template: Template, now: float) -> None:
        """One whose connections still live waits for them, a minute at a time from then on."""
        if template not in self._all or template.ends_at > now:
            return
        if template.connections:
            template.timeout_s = REARMED_S
            self.touch(template)
        else:
            self.end(template)
