"""The maps read as services, real servers and counters. Never writes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import partial

from onevip.engines.base import CountersByKey
from onevip.engines.bpf import shapes
from onevip.engines.bpf.codec import (
    SCHEDULER_FLAGS,
    SCHEDULER_NAMES,
    TOTALS,
    U64,
    gauge,
    key_bytes,
    netmask,
    unpacked,
)
from onevip.engines.bpf.loader import DataPlane, unit_seconds
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Limits, ServiceFlags, SlotState
from onevip.model import (
    Counters,
    ForwardingMethod,
    Protocol,
    RealServer,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    UnknownService,
    VirtualService,
)
from onevip.schedulers import Member, ServerList

MEMBERS = Limits.MEMBERS_PER_CHUNK
MEMBER_SIZE = shapes.MEMBER.size
METHODS = {int(method): method for method in ForwardingMethod}
_TERMS = tuple(
    partial(struct.Struct(code).unpack_from, offset=offset)
    for offset, code in map(
        shapes.REAL.fields.__getitem__, ("address", "port", "method", "upper", "lower")
    )
)


class Rows:
    """The maps read as services and real servers."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    def services(self) -> list[int]:
        """Indexes of services in use."""
        used = self.plane.settings.get(0, "services_used")
        states = self.plane.services.column("state", used)
        return [index for index, state in enumerate(states) if state == SlotState.SLOT_USED]

    def indexes_of(self, keys: Iterable[ServiceKey]) -> list[int]:
        """Indexes of those services that are there."""
        found = [self._index(key) for key in dict.fromkeys(keys)]
        return [index for index in found if index is not None]

    def service_index(self, key: ServiceKey) -> int:
        index = self._index(key)
        if index is None:
            raise UnknownService(f"{key} is not in the table")
        return index

    def _index(self, key: ServiceKey) -> int | None:
        index = self.plane.service_ids.get(key_bytes(key))
        if index is None or self.plane.services.get(index, "state") != SlotState.SLOT_USED:
            return None
        return index

    def service(self, index: int) -> VirtualService:
        listed = self.list_of(index)
        real_servers = tuple(map(self._real_server, reversed(listed.members)))
        return VirtualService(self.key(index), listed.scheduler, real_servers, self.options(index))

    def _real_server(self, member: Member) -> RealServer:
        """From one copy of its slot, a thousand in 5 ms: only writers change these fields."""
        raw = self.plane.reals.copy(member.real, 1)
        address, port, method, upper, lower = (read(raw)[0] for read in _TERMS)
        return RealServer(*(unpacked(address), port, METHODS[method], member.weight, upper, lower))

    def key(self, index: int) -> ServiceKey:
        """What names a service."""
        services = self.plane.services
        return ServiceKey(
            Protocol(services.get(index, "key.protocol")),
            unpacked(services.get_bytes(index, "key.vip")),
            services.get(index, "key.port"),
            services.get(index, "key.mark"),
        )

    def options(self, index: int) -> ServiceOptions:
        """What -A and -E said besides the scheduler."""
        services = self.plane.services
        flags = services.get(index, "flags")
        version = self.key(index).address.version
        is_persistent = flags & ServiceFlags.SERVICE_PERSISTENT
        timeout, hz = services.get(index, "timeout"), self.plane.settings.get(0, "hz")
        return ServiceOptions(
            SchedulerFlag(flags & SCHEDULER_FLAGS),
            unit_seconds(timeout, hz) if is_persistent else 0,
            netmask(services.get_bytes(index, "mask"), version),
            bool(flags & ServiceFlags.SERVICE_ONE_PACKET),
        )

    def list_of(self, index: int) -> ServerList:
        """The list in force, with rr's and wrr's place in it."""
        chunks, word = self.plane.chunks, self.plane.services.get(index, "list")
        first = word & 0xFFFFFFFF
        scheduler = SCHEDULER_NAMES[chunks.get(first, "scheduler")]
        members = self._members(first)
        place = self.plane.services.get(index, "position")
        if place >> 48 == first & 0xFFFF:
            position, bar = place >> 32 & 0xFFFF, place & 0xFFFFFFFF
        else:
            position = chunks.get(first, "start_index")
            bar = chunks.get(first, "start_weight")
        if scheduler != "wrr":
            bar = 0
        return ServerList(scheduler, members, position, bar)

    def _members(self, first: int) -> tuple[Member, ...]:
        left = self.plane.chunks.get(first, "count")
        found: list[Member] = []
        chunk = first
        while left > 0:
            raw = self.plane.chunks.get_bytes(chunk, "member")
            here = min(left, MEMBERS)
            found += [
                Member(*pair) for pair in struct.iter_unpack("=II", raw[: here * MEMBER_SIZE])
            ]
            left -= here
            chunk += 1
        return tuple(found)

    def totals(self, slot: int, since: str) -> tuple[int, ...]:
        """Totals of a real server since its `base` or `zero`."""
        now = self.plane.real_totals.total(slot)
        reals = self.plane.reals
        return tuple(
            (value - reals.get(slot, f"{since}.{name}")) & U64
            for name, value in zip(TOTALS, now, strict=True)
        )

    def service_totals(self, index: int) -> tuple[int, ...]:
        """Totals of a service since it was made: of its servers, and of those that left."""
        services = self.plane.services
        sums = [services.get(index, f"departed.{name}") for name in TOTALS]
        for member in self.list_of(index).members:
            sums = [a + b for a, b in zip(sums, self.totals(member.real, "base"), strict=True)]
        return tuple(value & U64 for value in sums)

    def counters(self, index: int) -> CountersByKey:
        service = self.service(index)
        found: CountersByKey = {}
        sums = (0, 0, 0)
        members = self.list_of(index).members
        for real, member in zip(service.real_servers, reversed(members), strict=True):
            counts = self.plane.real_counts.get(member.real, "counts")
            templates = self.plane.real_counts.get(member.real, "persistent")
            gauges = (gauge(counts >> 32), gauge(counts), gauge(templates))
            totals = self.totals(member.real, "zero")
            rates = shown_rates(self.plane.real_estimates, member.real)
            found[service.key, real.key] = Counters(*gauges, *totals, *rates)
            sums = (sums[0] + gauges[0], sums[1] + gauges[1], sums[2] + gauges[2])
        zero = [self.plane.services.get(index, f"zero.{name}") for name in TOTALS]
        totals = tuple((a - b) & U64 for a, b in zip(self.service_totals(index), zero, strict=True))
        rates = shown_rates(self.plane.service_estimates, index)
        found[service.key, None] = Counters(*sums, *totals, *rates)
        return found


def shown_rates(estimates: MappedArray, index: int) -> tuple[int, ...]:
    """A second's worth, rounded as the kernel does (spec ipvs §7)."""
    return tuple(
        (estimates.get(index, f"rates.{name}") + half) >> shift
        for name, shift, half in (
            (name, 5, 15) if name.endswith("bytes") else (name, 10, 511) for name in TOTALS
        )
    )
