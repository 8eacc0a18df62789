"""The BPF engine: the table of this network namespace in pinned maps. The maps are the truth.

Real servers are written before the list that names them, a list before it is made current by
one 8-byte store; removal goes the other way. A writer that is killed leaves `settings.writing`
at 1, and the next one frees what hangs loose.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

from onevip.engines.base import CountersByKey, Snapshot
from onevip.engines.bpf import loader, pins, shapes
from onevip.engines.bpf.doors import Door, Doors, interface
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.shapes import Limits, Scheduler, SlotState
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    Counters,
    DataplaneError,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerExists,
    RealServerKey,
    ServiceExists,
    ServiceKey,
    Table,
    TableError,
    UnknownRealServer,
    UnknownScheduler,
    UnknownService,
    VirtualService,
    Zero,
)
from onevip.schedulers import Member, ServerList

SCHEDULERS = {
    name.removeprefix("SCHED_").lower(): int(number)
    for name, number in Scheduler.__members__.items()
}
SCHEDULER_NAMES = {number: name for name, number in SCHEDULERS.items()}
LEAVING_GRACE_NS = 60 * 10**9  # a packet that chose the server before it left is long done
TOTALS = tuple(shapes.TOTALS.fields)
_MAPPED = bytes(10) + b"\xff\xff"
_MEMBERS = Limits.MEMBERS_PER_CHUNK
_MEMBER_SIZE = shapes.MEMBER.size


def packed(address: IPv4Address | IPv6Address) -> bytes:
    """16 bytes, IPv4 as ::ffff:a.b.c.d."""
    return address.packed if address.version == 6 else _MAPPED + address.packed


def unpacked(raw: bytes) -> IPv4Address | IPv6Address:
    return ip_address(raw[12:]) if raw.startswith(_MAPPED) else ip_address(raw)


def key_bytes(key: ServiceKey) -> bytes:
    """struct service_key."""
    return packed(key.address) + struct.pack(">HBBI", key.port, key.protocol, 0, 0)


class BpfEngine:
    """Answers to `engines.base.Engine`. Making one costs nothing and loads nothing."""

    def __init__(self) -> None:
        self._found: DataPlane | None = None

    def __repr__(self) -> str:
        plane = self._plane()
        return f"<BpfEngine at {plane.path}>" if plane else "<BpfEngine, not loaded>"

    def _plane(self) -> DataPlane | None:
        if self._found is None or not self._found.path.exists():
            self._found = loader.find()
        return self._found

    # Reading.

    def schedulers(self) -> frozenset[str]:
        return frozenset(SCHEDULERS)

    def read(self) -> Table:
        plane = self._plane()
        if plane is None:
            return Table.of()
        rows = _Rows(plane)
        return Table.of(rows.service(index) for index in rows.services())

    def snapshot(self, service: ServiceKey | None = None) -> Snapshot:
        plane = self._plane()
        if plane is None:
            if service is not None:
                raise UnknownService(f"{service} is not in the table")
            return Snapshot(Table.of(), {})
        rows = _Rows(plane)
        indexes = rows.services() if service is None else [rows.service_index(service)]
        counters: CountersByKey = {}
        for index in indexes:
            counters |= rows.counters(index)
        return Snapshot(Table.of(rows.service(index) for index in indexes), counters)

    def door_counters(self) -> dict[str, dict[str, int]]:
        """What happened at each door since it was loaded, by the names of shapes.h."""
        plane = self._plane()
        names = tuple(shapes.DOOR_COUNTERS.fields)
        return {
            door: dict(
                zip(
                    names,
                    plane.door_counters.total(index) if plane else (0,) * len(names),
                    strict=True,
                )
            )
            for index, door in enumerate(("tc", "xdp"))
        }

    # Changing.

    def apply(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        if not changes:
            return
        with pins.writer_lock() as base:
            plane = self._plane()
            if plane is None:
                Table.of().apply(changes[:1])  # says which key is missing, as any engine does
                if all(isinstance(change, (Clear, Zero)) for change in changes):
                    return
                for change in changes:
                    if isinstance(change, AddService):
                        _scheduler_number(change.scheduler)
                plane = loader.load(base)
            loader.enable_lookups()
            doors = Doors(plane)
            for change in changes:
                with _Writer(plane).at_work() as writer:
                    writer.apply(change)
                if isinstance(change, AddService):
                    doors.follow()

    # Doors.

    def attach(self, name: str | None, door: str) -> list[str]:
        """Open a door of one interface or of all; loads the data plane if need be."""
        with pins.writer_lock() as base:
            plane = self._plane() or loader.load(base)
            loader.enable_lookups()
            doors = Doors(plane)
            if name is not None:
                return [doors.attach(interface(name), door)]
            return [
                doors.attach(shown.interface, door)
                for shown in doors.show()
                if shown.interface.has_ethernet
            ]

    def detach(self, name: str | None, door: str) -> None:
        """Close doors; the table stays."""
        with pins.writer_lock():
            plane = self._plane()
            if plane is None:
                return
            doors = Doors(plane)
            for shown in doors.show():
                if name is None or shown.interface == interface(name):
                    doors.detach(shown.interface, door)

    def unload(self) -> None:
        """Close all doors and forget the table and every connection."""
        with pins.writer_lock():
            plane = self._plane()
            if plane is None:
                return
            Doors(plane).detach_all()
            pins.remove_tree(plane.path)
            self._found = None

    def doors(self) -> list[Door]:
        """Every interface with its doors; none when nothing is loaded."""
        plane = self._plane()
        return [] if plane is None else Doors(plane).show()

    def follow_interfaces(self) -> list[str]:
        """For the daemon: open the tc door of new interfaces. Returns problems in words."""
        plane = self._plane()
        if plane is None:
            return []
        with pins.writer_lock():
            loader.enable_lookups()
            return Doors(plane).follow()

    def refresh_routes(self) -> None:
        """For the daemon: what only user space sees of real servers (local, tunnel source)."""
        plane = self._plane()
        if plane is None:
            return
        with pins.writer_lock():
            loader.enable_lookups()
            reals = plane.reals
            used = plane.settings.get(0, "reals_used")
            for slot, state in enumerate(reals.column("state", used)):
                if state == SlotState.SLOT_USED:
                    _Writer.write_route(plane, slot, unpacked(reals.get_bytes(slot, "address")))


class _Rows:
    """The maps read as services and real servers."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane

    def services(self) -> list[int]:
        """Indexes of services in use."""
        used = self.plane.settings.get(0, "services_used")
        states = self.plane.services.column("state", used)
        return [index for index, state in enumerate(states) if state == SlotState.SLOT_USED]

    def service_index(self, key: ServiceKey) -> int:
        index = self.plane.service_ids.get(key_bytes(key))
        if index is None:
            raise UnknownService(f"{key} is not in the table")
        return index

    def service(self, index: int) -> VirtualService:
        services, reals = self.plane.services, self.plane.reals
        listed = self.list_of(index)
        key = ServiceKey(
            Protocol(services.get(index, "key.protocol")),
            unpacked(services.get_bytes(index, "key.vip")),
            services.get(index, "key.port"),
        )
        real_servers = tuple(
            RealServer(
                unpacked(reals.get_bytes(member.real, "address")),
                reals.get(member.real, "port"),
                ForwardingMethod(reals.get(member.real, "method")),
                member.weight,
            )
            for member in reversed(listed.members)
        )
        return VirtualService(key, listed.scheduler, real_servers)

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
            here = min(left, _MEMBERS)
            found += [
                Member(*pair) for pair in struct.iter_unpack("=II", raw[: here * _MEMBER_SIZE])
            ]
            left -= here
            chunk += 1
        return tuple(found)

    def totals(self, slot: int, since: str) -> tuple[int, ...]:
        """Totals of a real server since its `base` or `zero`."""
        now = self.plane.real_totals.total(slot)
        reals = self.plane.reals
        return tuple(
            (value - reals.get(slot, f"{since}.{name}")) & 0xFFFFFFFFFFFFFFFF
            for name, value in zip(TOTALS, now, strict=True)
        )

    def service_totals(self, index: int) -> tuple[int, ...]:
        """Totals of a service since it was made: of its servers, and of those that left."""
        services = self.plane.services
        sums = [services.get(index, f"departed.{name}") for name in TOTALS]
        for member in self.list_of(index).members:
            sums = [a + b for a, b in zip(sums, self.totals(member.real, "base"), strict=True)]
        return tuple(value & 0xFFFFFFFFFFFFFFFF for value in sums)

    def counters(self, index: int) -> CountersByKey:
        service = self.service(index)
        found: CountersByKey = {}
        active = inactive = 0
        members = self.list_of(index).members
        for real, member in zip(service.real_servers, reversed(members), strict=True):
            counts = self.plane.reals.get(member.real, "counts")
            gauges = (_gauge(counts >> 32), _gauge(counts))
            totals = self.totals(member.real, "zero")
            found[service.key, real.key] = Counters(*gauges, 0, *totals)
            active, inactive = active + gauges[0], inactive + gauges[1]
        zero = [self.plane.services.get(index, f"zero.{name}") for name in TOTALS]
        totals = tuple(
            (a - b) & 0xFFFFFFFFFFFFFFFF
            for a, b in zip(self.service_totals(index), zero, strict=True)
        )
        found[service.key, None] = Counters(active, inactive, 0, *totals)
        return found


class _Writer(_Rows):
    """One change at a time, under the writer lock."""

    @contextmanager
    def at_work(self) -> Iterator[_Writer]:
        if self.plane.settings.get(0, "writing"):
            self.repair()
        self.plane.settings.set(0, "writing", 1)
        try:
            yield self
        except TableError:  # refused before anything was written
            self.plane.settings.set(0, "writing", 0)
            raise
        self.plane.settings.set(0, "writing", 0)

    def apply(self, change: Change) -> None:
        handlers: dict[type, Callable[..., None]] = {
            AddService: self.add_service,
            EditService: self.edit_service,
            DeleteService: self.delete_service,
            AddRealServer: self.add_real_server,
            EditRealServer: self.edit_real_server,
            DeleteRealServer: self.delete_real_server,
            Clear: self.clear,
            Zero: self.zero,
        }
        handlers[type(change)](change)

    # Services.

    def add_service(self, change: AddService) -> None:
        number = _scheduler_number(change.scheduler)
        raw = key_bytes(change.service)
        if self.plane.service_ids.get(raw) is not None:
            raise ServiceExists(f"{change.service} is already in the table")
        services = self.plane.services
        index = self._free_service()
        services.clear(index)
        services.set_bytes(index, "key.vip", raw[:16])
        services.set(index, "key.port", change.service.port)
        services.set(index, "key.protocol", change.service.protocol)
        self._publish(index, ServerList(SCHEDULER_NAMES[number]))
        services.set(index, "state", SlotState.SLOT_USED)
        self.plane.service_ids.set(raw, index)

    def edit_service(self, change: EditService) -> None:
        _scheduler_number(change.scheduler)
        index = self.service_index(change.service)
        listed = self.list_of(index)
        if listed.scheduler != change.scheduler:
            self._publish(index, listed.with_scheduler(change.scheduler))

    def delete_service(self, change: DeleteService) -> None:
        index = self.service_index(change.service)
        members = self.list_of(index).members
        self.plane.service_ids.delete(key_bytes(change.service))
        self.plane.services.set(index, "list", 0)
        for member in members:
            self._leave(member.real)
        self.plane.services.set(index, "state", SlotState.SLOT_FREE)

    def clear(self, change: Clear) -> None:
        for index in self.services():
            self.delete_service(DeleteService(self.service(index).key))

    def zero(self, change: Zero) -> None:
        wanted = self.services() if change.service is None else [self.service_index(change.service)]
        for index in wanted:
            for member in self.list_of(index).members:
                now = self.plane.real_totals.total(member.real)
                for name, value in zip(TOTALS, now, strict=True):
                    self.plane.reals.set(member.real, f"zero.{name}", value)
            for name, value in zip(TOTALS, self.service_totals(index), strict=True):
                self.plane.services.set(index, f"zero.{name}", value)

    # Real servers.

    def add_real_server(self, change: AddRealServer) -> None:
        index = self.service_index(change.service)
        listed = self.list_of(index)
        real = change.real
        if self._slot_of(listed, real.key) is not None:
            raise RealServerExists(f"{real.key} is already a real server of {change.service}")
        raw = key_bytes(change.service)
        slot = self._left_behind(raw, real.key)
        if slot is None:
            slot = self._new_slot(raw, real)
        else:
            self._move_totals(index, slot, -1)
        self.plane.reals.set(slot, "service", index)
        self.plane.reals.set(slot, "method", real.method)
        self.write_route(self.plane, slot, real.address)
        self.plane.reals.set(slot, "state", SlotState.SLOT_USED)
        self._publish(index, listed.with_added(Member(slot, real.weight)))

    def edit_real_server(self, change: EditRealServer) -> None:
        index = self.service_index(change.service)
        listed = self.list_of(index)
        slot = self._known_slot(listed, change.real.key, change.service)
        self.plane.reals.set(slot, "method", change.real.method)
        self.write_route(self.plane, slot, change.real.address)
        self._publish(index, listed.with_weight(slot, change.real.weight))

    def delete_real_server(self, change: DeleteRealServer) -> None:
        index = self.service_index(change.service)
        listed = self.list_of(index)
        slot = self._known_slot(listed, change.real, change.service)
        self._publish(index, listed.with_removed(slot))
        self._move_totals(index, slot, 1)
        self._leave(slot)

    def _known_slot(self, listed: ServerList, key: RealServerKey, service: ServiceKey) -> int:
        slot = self._slot_of(listed, key)
        if slot is None:
            raise UnknownRealServer(f"{key} is not a real server of {service}")
        return slot

    def _slot_of(self, listed: ServerList, key: RealServerKey) -> int | None:
        address, reals = packed(key.address), self.plane.reals
        for member in listed.members:
            if (
                reals.get_bytes(member.real, "address") == address
                and reals.get(member.real, "port") == key.port
            ):
                return member.real
        return None

    def _left_behind(self, service: bytes, key: RealServerKey) -> int | None:
        """The slot of the same real server of the same service, deleted with connections alive."""
        reals = self.plane.reals
        states = reals.column("state", self.plane.settings.get(0, "reals_used"))
        for slot in _positions(states, SlotState.SLOT_LEAVING):
            if (
                reals.get_bytes(slot, "address") == packed(key.address)
                and reals.get(slot, "port") == key.port
                and reals.get_bytes(slot, "service_key.vip") == service[:16]
                and reals.get(slot, "service_key.port") == int.from_bytes(service[16:18])
                and reals.get(slot, "service_key.protocol") == service[18]
                and (reals.get(slot, "counts") != 0 or not self._grace_is_over(slot))
            ):
                return slot
        return None

    def _new_slot(self, service: bytes, real: RealServer) -> int:
        reals, slot = self.plane.reals, self._free_real()
        totals = self.plane.real_totals.total(slot)
        reals.clear(slot)
        reals.set_bytes(slot, "address", packed(real.address))
        reals.set(slot, "port", real.port)
        reals.set_bytes(slot, "service_key.vip", service[:16])
        reals.set(slot, "service_key.port", int.from_bytes(service[16:18]))
        reals.set(slot, "service_key.protocol", service[18])
        for name, value in zip(TOTALS, totals, strict=True):
            reals.set(slot, f"base.{name}", value)
            reals.set(slot, f"zero.{name}", value)
        return slot

    def _leave(self, slot: int) -> None:
        self.plane.reals.set(slot, "left_at_ns", time.monotonic_ns())
        self.plane.reals.set(slot, "state", SlotState.SLOT_LEAVING)

    def _move_totals(self, index: int, slot: int, sign: int) -> None:
        """A server that leaves gives its totals to the service; a revived one takes them back."""
        services = self.plane.services
        for name, value in zip(TOTALS, self.totals(slot, "base"), strict=True):
            field = f"departed.{name}"
            services.set(
                index, field, (services.get(index, field) + sign * value) & 0xFFFFFFFFFFFFFFFF
            )

    @staticmethod
    def write_route(plane: DataPlane, slot: int, address: IPv4Address | IPv6Address) -> None:
        """What only user space can find out. No route yet: the programs look again each second."""
        plane.reals.set(slot, "local", _is_local(address))
        source = _source_towards(address)
        if source is not None:
            plane.reals.set_bytes(slot, "tunnel_source", packed(source))
        plane.reals.set(slot, "hop_checked", 0)

    # Slots.

    def _free_service(self) -> int:
        used = self.plane.settings.get(0, "services_used")
        for index in _positions(self.plane.services.column("state", used), SlotState.SLOT_FREE):
            return index
        if used >= Limits.MAX_SERVICES:
            raise DataplaneError(
                "adding a service", f"the table holds its {used} services: delete one"
            )
        self.plane.settings.set(0, "services_used", used + 1)
        return used

    def _free_real(self) -> int:
        used = self.plane.settings.get(0, "reals_used")
        states = self.plane.reals.column("state", used)
        for slot in _positions(states, SlotState.SLOT_FREE):
            return slot
        for slot in _positions(states, SlotState.SLOT_LEAVING):
            if self.plane.reals.get(slot, "counts") == 0 and self._grace_is_over(slot):
                return slot
        if used >= Limits.MAX_REALS:
            raise DataplaneError(
                "adding a real server",
                f"all {used} places are taken, some by deleted servers with connections: wait",
            )
        self.plane.settings.set(0, "reals_used", used + 1)
        return used

    def _grace_is_over(self, slot: int) -> bool:
        left_at: int = self.plane.reals.get(slot, "left_at_ns")
        return time.monotonic_ns() - left_at > LEAVING_GRACE_NS

    def _publish(self, index: int, listed: ServerList) -> None:
        """Write the list into free chunks, then make it current by one store."""
        needed = max(1, -(-len(listed.members) // _MEMBERS))
        first = self._free_chunks(needed)
        chunks = self.plane.chunks
        for nr in range(needed):
            part = listed.members[nr * _MEMBERS : (nr + 1) * _MEMBERS]
            numbers = [number for member in part for number in (member.real, member.weight)]
            chunks.clear(first + nr)
            raw = struct.pack(f"={len(numbers)}I", *numbers)
            chunks.set_bytes(first + nr, "member", raw.ljust(_MEMBERS * _MEMBER_SIZE, b"\0"))
        chunks.set(first, "count", len(listed.members))
        chunks.set(first, "scheduler", SCHEDULERS[listed.scheduler])
        chunks.set(first, "divisor", listed.divisor)
        chunks.set(first, "max_weight", listed.max_weight)
        chunks.set(first, "start_index", listed.position)
        chunks.set(first, "start_weight", listed.current_weight)
        self.plane.services.set(index, "list", first)

    def _free_chunks(self, needed: int) -> int:
        """The first of `needed` free consecutive chunks, searched round and round.

        So a list that a program is still reading is the last to be written over.
        """
        taken = bytearray(Limits.MAX_CHUNKS)
        taken[0] = 1
        for index in range(self.plane.settings.get(0, "services_used")):
            first = self.plane.services.get(index, "list")
            if first:
                length = max(1, -(-self.plane.chunks.get(first, "count") // _MEMBERS))
                taken[first : first + length] = b"\1" * length
        start = self.plane.settings.get(0, "next_chunk")
        for begin in (start, 1):
            first = taken.find(bytes(needed), begin)
            if first != -1:
                self.plane.settings.set(0, "next_chunk", (first + needed) % Limits.MAX_CHUNKS)
                return first
        raise DataplaneError("writing a list", "no room for a list this long: delete services")

    def repair(self) -> None:
        """After a writer was killed: free what no list and no key names."""
        services, reals = self.plane.services, self.plane.reals
        named = {self.plane.service_ids.get(key) for key in self.plane.service_ids.keys()}  # noqa: SIM118 - no dict
        for index in range(self.plane.settings.get(0, "services_used")):
            if index not in named and services.get(index, "state") == SlotState.SLOT_USED:
                services.set(index, "list", 0)
                services.set(index, "state", SlotState.SLOT_FREE)
        listed = {
            member.real for index in self.services() for member in self.list_of(index).members
        }
        for slot in range(self.plane.settings.get(0, "reals_used")):
            if reals.get(slot, "state") == SlotState.SLOT_USED and slot not in listed:
                self._leave(slot)
            elif reals.get(slot, "state") == SlotState.SLOT_LEAVING and slot in listed:
                reals.set(slot, "state", SlotState.SLOT_USED)


def _scheduler_number(name: str) -> int:
    number = SCHEDULERS.get(name)
    if number is None:
        raise UnknownScheduler(f"no scheduler {name}; there are {', '.join(sorted(SCHEDULERS))}")
    return number


def _gauge(half: int) -> int:
    """Half of real.counts; a reader may see half of a borrow: never below 0."""
    half &= 0xFFFFFFFF
    return half if half < 1 << 31 else 0


def _positions(states: bytes, wanted: int) -> Iterator[int]:
    at = states.find(wanted)
    while at != -1:
        yield at
        at = states.find(wanted, at + 1)


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether this machine would take packets to the address itself: it can be bound to."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _source_towards(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address | None:
    """The address that packets of our own to there would come from; None without a route."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return None
        return ip_address(probe.getsockname()[0])
