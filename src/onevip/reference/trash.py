"""Deleted real servers, kept so that one which comes back finds its connections (§5.6)."""

from __future__ import annotations

from onevip.model import RealServerKey, ServiceKey
from onevip.reference.agenda import Agenda
from onevip.reference.real_server import LiveRealServer

CHECK_EVERY_S = 60.0
IDLE_S = 120.0

Name = tuple[ServiceKey, RealServerKey]


class Trash:
    """By service and real server; one that nothing names goes after 120 to 180 s."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._held: dict[Name, LiveRealServer] = {}
        self._idle_since: dict[Name, float] = {}

    def put(self, server: LiveRealServer) -> None:
        server.available = False
        if not self._held:
            self._agenda.at(self._agenda.now + CHECK_EVERY_S, self._check)
        self._held[server.service.key, server.key] = server

    def take(self, service: ServiceKey, real: RealServerKey) -> LiveRealServer | None:
        """The one of that name, if it is still here."""
        self._idle_since.pop((service, real), None)
        return self._held.pop((service, real), None)

    def _check(self, now: float) -> None:
        for name, server in list(self._held.items()):
            if server.is_named:
                continue
            if name not in self._idle_since:
                self._idle_since[name] = now
            elif now - self._idle_since[name] >= IDLE_S:
                self.take(*name)
        if self._held:
            self._agenda.at(now + CHECK_EVERY_S, self._check)
