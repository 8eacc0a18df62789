"""The table of virtual services: what is wanted, or what an engine holds. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onevip.model.errors import (
    RealServerExists,
    ServiceExists,
    UnknownRealServer,
    UnknownService,
)
from onevip.model.service import (
    RealServer,
    RealServerKey,
    ServiceKey,
    ServiceOptions,
    VirtualService,
)

if TYPE_CHECKING:
    from onevip.model.changes import Change


@dataclass(frozen=True, slots=True)
class Table:
    """All virtual services by key. Equal when they hold equal services, in any order."""

    services: dict[ServiceKey, VirtualService]

    @classmethod
    def of(cls, services: Iterable[VirtualService] = ()) -> Table:
        return cls({service.key: service for service in services})

    def __iter__(self) -> Iterator[VirtualService]:
        return iter(self.services.values())

    def __len__(self) -> int:
        return len(self.services)

    def __hash__(self) -> int:
        return hash(frozenset(self.services.values()))

    def get(self, key: ServiceKey) -> VirtualService | None:
        return self.services.get(key)

    def restricted_to(self, keys: Iterable[ServiceKey]) -> Table:
        """The part of this table that those keys name."""
        wanted = set(keys)
        return Table({key: service for key, service in self.services.items() if key in wanted})

    def apply(self, changes: Iterable[Change]) -> Table:
        """The table after those changes.

        Raises TableError for the first change that does not fit, as every engine does.
        """
        table = self
        for change in changes:
            table = change.applied_to(table)
        return table

    # The steps that changes are made of.

    def with_service(self, service: VirtualService) -> Table:
        if service.key in self.services:
            raise ServiceExists(f"{service.key} is already in the table")
        return Table({**self.services, service.key: service})

    def without_service(self, key: ServiceKey) -> Table:
        self._service(key)
        return Table({k: v for k, v in self.services.items() if k != key})

    def with_edited_service(
        self, key: ServiceKey, scheduler: str, options: ServiceOptions
    ) -> Table:
        return self._replacing(replace(self._service(key), scheduler=scheduler, options=options))

    def with_real_server(self, key: ServiceKey, real: RealServer) -> Table:
        service = self._service(key)
        real.check_thresholds()
        if service.real_server(real.key) is not None:
            raise RealServerExists(f"{real.key} is already a real server of {key}")
        return self._replacing(replace(service, real_servers=(*service.real_servers, real)))

    def with_edited_real_server(self, key: ServiceKey, real: RealServer) -> Table:
        service = self._service(key)
        real.check_thresholds()
        former = self._real_server(service, real.key)
        edited = tuple(real if old is former else old for old in service.real_servers)
        return self._replacing(replace(service, real_servers=edited))

    def without_real_server(self, key: ServiceKey, real_key: RealServerKey) -> Table:
        service = self._service(key)
        gone = self._real_server(service, real_key)
        left = tuple(real for real in service.real_servers if real is not gone)
        return self._replacing(replace(service, real_servers=left))

    def _service(self, key: ServiceKey) -> VirtualService:
        service = self.services.get(key)
        if service is None:
            raise UnknownService(f"{key} is not in the table")
        return service

    def _replacing(self, service: VirtualService) -> Table:
        return Table({**self.services, service.key: service})

    @staticmethod
    def _real_server(service: VirtualService, key: RealServerKey) -> RealServer:
        real = service.real_server(key)
        if real is None:
            raise UnknownRealServer(f"{key} is not a real server of {service.key}")
        return real
