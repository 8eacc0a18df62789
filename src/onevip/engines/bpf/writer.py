"""Changes written into the maps under the writer lock, one at a time or several by one store.

Real servers are written before the list that names them, a list before it is made current by
one 8-byte store; removal goes the other way. A writer that is killed leaves `settings.writing`
at 1, and the next one frees what hangs loose.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from itertools import count, groupby

from onevip.engines.bpf import routes
from onevip.engines.bpf.codec import (
    SCHEDULER_NAMES,
    SCHEDULERS,
    TOTALS,
    U64,
    key_bytes,
    mask_bytes,
    packed,
    scheduler_number,
    service_key,
    unpacked,
)
from onevip.engines.bpf.loader import clock_units
from onevip.engines.bpf.rows import MEMBER_SIZE, MEMBERS, Rows
from onevip.engines.bpf.shapes import Kinds, Limits, ServiceFlags, SlotState
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DataplaneError,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    ForwardingMethod,
    OnevipError,
    Protocol,
    RealServer,
    RealServerExists,
    RealServerKey,
    ServiceExists,
    ServiceKey,
    ServiceOptions,
    TableError,
    UnknownRealServer,
    Zero,
)
from onevip.schedulers import Member, ServerList, rings

U32 = 0xFFFFFFFF
FTP = (Protocol.TCP, 21)
# Between the versions of a chunk in one list and in the next: more than change during one look.
VERSIONS_APART = 1 << 16
# Schedulers that ask for the best member of each chunk.
KEEPING = frozenset({"lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr"})
# As long as the kernel's trash keeps an idle one: its counts go on when it is added again (§5.6).
# A packet that chose the server before it left is long done by then.
LEAVING_GRACE_NS = 120 * 10**9


class Writer(Rows):
    """One change at a time, under the writer lock."""

    @contextmanager
    def at_work(self) -> Iterator[Writer]:
        if self.plane.settings.get(0, "writing"):
            self.repair()
        self.plane.settings.set(0, "writing", 1)
        try:
            yield self
        except TableError:  # refused before anything was written
            self.plane.settings.set(0, "writing", 0)
            raise
        self.plane.settings.set(0, "writing", 0)

    def apply(self, changes: Sequence[Change]) -> None:
        """One change, or several that are in force together: see `together`."""
        if set_real := [c for c in changes if isinstance(c, AddRealServer | EditRealServer)]:
            self.set_real_servers(set_real)
            return
        if delete := [c for c in changes if isinstance(c, DeleteRealServer)]:
            self.delete_real_servers(delete)
            return
        handlers: dict[type, Callable[..., None]] = {
            AddService: self.add_service,
            EditService: self.edit_service,
            DeleteService: self.delete_service,
            Clear: self.clear,
            Zero: self.zero,
        }
        (change,) = changes
        handlers[type(change)](change)

    # Services.

    def add_service(self, change: AddService) -> None:
        number = scheduler_number(change.scheduler)
        raw = key_bytes(change.service)
        if self.plane.service_ids.get(raw) is not None:
            raise ServiceExists(f"{change.service} is already in the table")
        services = self.plane.services
        index = self._free_service()
        epoch = services.get(index, "epoch") + 1
        services.clear(index)
        services.set_bytes(index, "key.vip", raw[:16])
        services.set(index, "key.port", change.service.port)
        services.set(index, "key.protocol", change.service.protocol)
        services.set(index, "key.mark", change.service.mark)
        services.set(index, "epoch", epoch & U32)
        self._write_options(index, change.options)
        self.plane.service_estimates.clear(index)
        self._publish(index, ServerList(SCHEDULER_NAMES[number]))
        if not change.service.mark:
            self.plane.filter.add(raw[:16])
        kinds = self.plane.settings.get(0, "kinds")
        self.plane.settings.set(0, "kinds", kinds | kind_of(change.service))
        services.set(index, "state", SlotState.SLOT_USED)
        self.plane.service_ids.set(raw, index)

    def edit_service(self, change: EditService) -> None:
        scheduler_number(change.scheduler)
        index = self.service_index(change.service)
        listed = self.list_of(index)
        self._write_options(index, change.options)
        if listed.scheduler != change.scheduler:
            services = self.plane.services
            services.set(index, "epoch", (services.get(index, "epoch") + 1) & U32)
            self._publish(index, listed.with_scheduler(change.scheduler))

    def _write_options(self, index: int, options: ServiceOptions) -> None:
        """Templates that are there keep their timeout, as in the kernel (spec ipvs §5.6)."""
        services, hz = self.plane.services, self.plane.settings.get(0, "hz")
        flags = int(options.flags)
        if options.persistent_s:
            flags |= ServiceFlags.SERVICE_PERSISTENT
            services.set(index, "timeout", clock_units(options.persistent_s, hz))
        if options.one_packet:
            flags |= ServiceFlags.SERVICE_ONE_PACKET
        services.set_address(index, "mask", mask_bytes(options.netmask))
        services.set(index, "flags", flags)

    def delete_service(self, change: DeleteService) -> None:
        index = self.service_index(change.service)
        members = self.list_of(index).members
        self.plane.services.set(index, "state", SlotState.SLOT_FREE)  # to the programs it is gone
        self.plane.service_ids.delete(key_bytes(change.service))
        self.plane.services.set(index, "list", 0)
        for member in members:
            self._leave(member.real)

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
                    self.plane.real_estimates.set(member.real, f"rates.{name}", 0)
            for name, value in zip(TOTALS, self.service_totals(index), strict=True):
                self.plane.services.set(index, f"zero.{name}", value)
                self.plane.service_estimates.set(index, f"rates.{name}", 0)

    # Real servers.

    def set_real_servers(self, changes: Sequence[AddRealServer | EditRealServer]) -> None:
        """Changes of one service, all in force by one store. Those before one that does not fit
        are in force, too."""
        service = changes[0].service
        index = self.service_index(service)
        listed = known = self.list_of(index)
        slots = {self._key_of(member.real): member.real for member in known.members}
        try:
            for change in changes:
                real = change.real
                real.check_thresholds()
                _check_port(service, real)
                key = (packed(real.address), real.port)
                slot = slots.get(key)
                if isinstance(change, EditRealServer):
                    if slot is None:
                        raise _unknown(real.key, service)
                    self._write_terms(slot, real)
                    listed = listed.with_weight(slot, real.weight)
                else:
                    if slot is not None:
                        raise RealServerExists(f"{real.key} is already a real server of {service}")
                    slots[key] = slot = self._new_real_server(index, service, real)
                    listed = listed.with_added(Member(slot, real.weight))
        except OnevipError:
            if listed is not known:
                self._publish(index, listed)
            raise
        self._publish(index, listed)

    def _new_real_server(self, index: int, service: ServiceKey, real: RealServer) -> int:
        """The slot of one that no list names yet."""
        raw = key_bytes(service)
        slot = self._left_behind(raw, real.key)
        if slot is None:
            slot = self._new_slot(raw, real)
        else:
            self._count_anew(slot)
        self.plane.reals.set(slot, "service", index)
        self.plane.reals.set(slot, "last_weight", real.weight)
        self._write_terms(slot, real)
        self._begin_estimate(slot)
        self.plane.filter.add(packed(real.address))
        self.plane.reals.set(slot, "state", SlotState.SLOT_USED)
        return slot

    def _write_terms(self, slot: int, real: RealServer) -> None:
        """All that an edit may change. A threshold that is raised, or gone, ends an overload.

        The overload is ended before its threshold is stored, for a writer that is killed, and
        again afterwards, for programs that knew the old one (judge_load in bpf/counts.h).
        """
        reals, counts = self.plane.reals, self.plane.real_counts
        ends = not real.upper_threshold or real.upper_threshold > reals.get(slot, "upper")
        reals.set(slot, "method", real.method)
        reals.set(slot, "weight", real.weight)
        if real.weight:
            reals.set(slot, "last_weight", real.weight)
        if ends:
            counts.set(slot, "overloaded", 0)
        reals.set(slot, "upper", real.upper_threshold)
        reals.set(slot, "lower", real.lower_threshold)
        counts.set(slot, "limited", real.upper_threshold > 0)
        if ends:
            counts.set(slot, "overloaded", 0)
        self._write_route(slot, real.address)

    def _end_estimate(self, slot: int) -> None:
        """What it counted since the last estimate is the service's still."""
        reals, services = self.plane.real_estimates, self.plane.service_estimates
        index, now = self.plane.reals.get(slot, "service"), self.plane.real_totals.total(slot)
        for name, value in zip(TOTALS, now, strict=True):
            counted = value - reals.get(slot, f"last.{name}")
            services.set(index, f"now.{name}", (services.get(index, f"now.{name}") + counted) & U64)
            reals.set(slot, f"last.{name}", value)

    def _begin_estimate(self, slot: int) -> None:
        """From now on, and from rates of 0."""
        estimates, now = self.plane.real_estimates, self.plane.real_totals.total(slot)
        estimates.clear(slot)
        for name, value in zip(TOTALS, now, strict=True):
            estimates.set(slot, f"last.{name}", value)

    def delete_real_servers(self, changes: Sequence[DeleteRealServer]) -> None:
        """As `set_real_servers`: by one store."""
        service = changes[0].service
        index = self.service_index(service)
        listed = known = self.list_of(index)
        slots = {self._key_of(member.real): member.real for member in known.members}
        gone: list[int] = []
        unknown: RealServerKey | None = None
        for change in changes:
            slot = slots.pop((packed(change.real.address), change.real.port), None)
            if slot is None:
                unknown = change.real
                break
            gone.append(slot)
            listed = listed.with_removed(slot)
        if gone:
            self._publish(index, listed)
        for slot in gone:
            self._move_totals(index, slot)
            self._leave(slot)
        if unknown is not None:
            raise _unknown(unknown, service)

    def _key_of(self, slot: int) -> tuple[bytes, int]:
        """Address and port of the real server in this slot."""
        return self.plane.reals.get_bytes(slot, "address"), self.plane.reals.get(slot, "port")

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
                and reals.get(slot, "service_key.mark") == service_key(service).mark
                and not self._has_gone(slot)
            ):
                return slot
        return None

    def _new_slot(self, service: bytes, real: RealServer) -> int:
        reals, slot = self.plane.reals, self._free_real()
        totals = self.plane.real_totals.total(slot)
        generation = reals.get(slot, "generation") + 1
        reals.clear(slot)
        reals.set(slot, "generation", generation & U32)
        reals.set_bytes(slot, "address", packed(real.address))
        reals.set(slot, "port", real.port)
        reals.set_bytes(slot, "service_key.vip", service[:16])
        reals.set(slot, "service_key.port", int.from_bytes(service[16:18]))
        reals.set(slot, "service_key.protocol", service[18])
        reals.set(slot, "service_key.mark", service_key(service).mark)
        for name, value in zip(TOTALS, totals, strict=True):
            reals.set(slot, f"base.{name}", value)
            reals.set(slot, f"zero.{name}", value)
        return slot

    def _leave(self, slot: int) -> None:
        self.plane.real_counts.set(slot, "chunk", 0)
        self.plane.reals.set(slot, "left_at_ns", time.monotonic_ns())
        self.plane.reals.set(slot, "state", SlotState.SLOT_LEAVING)
        self._end_estimate(slot)

    def _count_anew(self, slot: int) -> None:
        """A server that comes back: the service has what it counted before, or never had it."""
        for name, value in zip(TOTALS, self.plane.real_totals.total(slot), strict=True):
            self.plane.reals.set(slot, f"base.{name}", value)

    def _move_totals(self, index: int, slot: int) -> None:
        """A server that leaves gives its totals to the service."""
        services = self.plane.services
        for name, value in zip(TOTALS, self.totals(slot, "base"), strict=True):
            field = f"departed.{name}"
            services.set(index, field, (services.get(index, field) + value) & U64)

    def _write_route(self, slot: int, address: IPv4Address | IPv6Address) -> bool:
        """What only user space can find out. True: the server is now here, or no longer.

        Without a route yet, nothing is written: the programs look again each second.
        """
        reals, route = self.plane.reals, routes.ask(address)
        moved: bool = reals.get(slot, "local") != route.is_local
        if moved:
            reals.set(slot, "local", route.is_local)
            reals.set(slot, "hop_checked", 0)
        if route.source is not None:
            reals.set_bytes(slot, "tunnel_source", packed(route.source))
        return moved

    def refresh_routes(self) -> bool:
        """Look again at all real servers: this machine's addresses or routes may have changed."""
        used = self.plane.settings.get(0, "reals_used")
        slots = list(_positions(self.plane.reals.column("state", used), SlotState.SLOT_USED))
        address = [unpacked(self.plane.reals.get_bytes(slot, "address")) for slot in slots]
        moved = [self._write_route(*pair) for pair in zip(slots, address, strict=True)]
        return any(moved)

    def rebuild_filter(self) -> None:
        """Forget the addresses of what has gone for good: once, after any number of changes.

        Not while there are services by mark, or real servers of theirs with connections: the
        programs add the addresses of these.
        """
        services, reals = self.plane.services, self.plane.reals
        kinds = 0
        for index in self.services():
            kinds |= kind_of(self.key(index))
        self.plane.settings.set(0, "kinds", kinds)
        if kinds & Kinds.HAS_MARKS:
            return
        addresses = [services.get_bytes(index, "key.vip") for index in self.services()]
        states = reals.column("state", self.plane.settings.get(0, "reals_used"))
        for slot, state in enumerate(states):
            is_gone = state == SlotState.SLOT_FREE or (
                state == SlotState.SLOT_LEAVING and self._has_gone(slot)
            )
            if not is_gone and reals.get(slot, "service_key.mark"):
                return
            if not is_gone:
                addresses.append(reals.get_bytes(slot, "address"))
                addresses.append(reals.get_bytes(slot, "service_key.vip"))
        self.plane.filter.rebuild(addresses)

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
            if self._has_gone(slot):
                return slot
        if used >= Limits.MAX_REALS:
            raise DataplaneError(
                "adding a real server",
                f"all {used} places are taken, some by deleted servers with connections: wait",
            )
        self.plane.settings.set(0, "reals_used", used + 1)
        return used

    def _has_gone(self, slot: int) -> bool:
        """Whether a deleted real server has no connection and no template left."""
        counts = self.plane.real_counts
        is_busy = counts.get(slot, "counts") or counts.get(slot, "persistent")
        return not is_busy and self._grace_is_over(slot)

    def _grace_is_over(self, slot: int) -> bool:
        left_at: int = self.plane.reals.get(slot, "left_at_ns")
        return time.monotonic_ns() - left_at > LEAVING_GRACE_NS

    def _publish(self, index: int, listed: ServerList) -> None:
        """Write the list into free chunks, then make it current by one store, then watch it.

        Its ring lies right behind it.
        """
        needed = _list_chunks(len(listed.members))
        first = self._free_chunks(needed + _ring_parts(listed.scheduler))
        chunks = self.plane.chunks
        for nr in range(needed):
            part = listed.members[nr * MEMBERS : (nr + 1) * MEMBERS]
            numbers = [number for member in part for number in (member.real, member.weight)]
            raw = struct.pack(f"={len(numbers)}I", *numbers)
            chunks.set_bytes(first + nr, "member", raw.ljust(MEMBERS * MEMBER_SIZE, b"\0"))
            heaviest = max((member.weight for member in part), default=0)
            chunks.set(first + nr, "heaviest", heaviest)
            version = chunks.get(first + nr, "version")
            chunks.set(first + nr, "version", (version + VERSIONS_APART) & U32)
        chunks.set(first, "watched", 0)
        chunks.set(first, "limited", self._is_limited(listed))
        chunks.set(first, "count", len(listed.members))
        chunks.set(first, "scheduler", SCHEDULERS[listed.scheduler])
        chunks.set(first, "divisor", listed.divisor)
        chunks.set(first, "max_weight", listed.max_weight)
        chunks.set(first, "start_index", listed.position)
        chunks.set(first, "start_weight", listed.current_weight)
        self._write_ring(first + needed, listed)
        self.plane.services.set(index, "list", first)
        self._watch(first, listed)

    def _mend_terms(self, first: int, in_force: ServerList) -> None:
        """After an edit that was killed before its list was: weights are as in the list."""
        reals, counts = self.plane.reals, self.plane.real_counts
        for member in in_force.members:
            reals.set(member.real, "weight", member.weight)
            counts.set(member.real, "limited", reals.get(member.real, "upper") > 0)
        self.plane.chunks.set(first, "limited", self._is_limited(in_force))

    def _is_limited(self, listed: ServerList) -> bool:
        counts = self.plane.real_counts
        return any(counts.get(member.real, "limited") for member in listed.members)

    def _write_ring(self, first: int, listed: ServerList) -> None:
        places = [
            Limits.NOBODY if index == rings.NOBODY else _in_ring(listed.members[index])
            for index in self._ring(listed)
        ]
        for nr in range(_ring_parts(listed.scheduler)):
            part = places[nr * Limits.RING_PART : (nr + 1) * Limits.RING_PART]
            part += [Limits.NOBODY] * (Limits.RING_PART - len(part))
            self.plane.ring_parts.set_bytes(
                first + nr, "real", struct.pack(f"={len(part)}H", *part)
            )

    def _ring(self, listed: ServerList) -> tuple[int, ...]:
        """Indexes of members; empty where the scheduler has no ring."""
        if listed.scheduler == "dh":
            return rings.destination_hash_ring(len(listed.members))
        if listed.scheduler == "sh":
            return rings.source_hash_ring([member.weight for member in listed.members])
        if listed.scheduler != "mh":
            return ()
        reals = self.plane.reals
        servers = [
            (
                unpacked(reals.get_bytes(member.real, "address")),
                reals.get(member.real, "port"),
                reals.get(member.real, "last_weight"),
            )
            for member in listed.members
        ]
        try:
            return rings.maglev_table(servers)
        except ValueError as error:
            raise DataplaneError("writing a list", f"{error}: delete some") from None

    def _watch(self, first: int, listed: ServerList) -> None:
        """Let every change of a member's counts move its chunk's version; see least.h.

        Not where nobody would keep a result: with one chunk, or a scheduler that looks for no best.
        """
        counts = self.plane.real_counts
        is_watched = len(listed.members) > MEMBERS and listed.scheduler in KEEPING
        for at, member in enumerate(listed.members):
            counts.set(member.real, "chunk", first + at // MEMBERS if is_watched else 0)
        if is_watched:
            self.plane.chunks.set(first, "watched", 1)

    def _free_chunks(self, needed: int) -> int:
        """The first of `needed` free consecutive chunks, searched round and round.

        So a list that a program is still reading is the last to be written over.
        """
        taken, chunks = bytearray(Limits.MAX_CHUNKS), self.plane.chunks
        taken[0] = 1
        for index in range(self.plane.settings.get(0, "services_used")):
            first = self.plane.services.get(index, "list")
            if first:
                scheduler = SCHEDULER_NAMES[chunks.get(first, "scheduler")]
                length = _list_chunks(chunks.get(first, "count")) + _ring_parts(scheduler)
                taken[first : first + length] = b"\1" * length
        start = self.plane.settings.get(0, "next_chunk")
        for begin in (start, 1):
            first = taken.find(bytes(needed), begin)
            if first != -1:
                self.plane.settings.set(0, "next_chunk", (first + needed) % Limits.MAX_CHUNKS)
                return first
        raise DataplaneError("writing a list", "no room for a list this long: delete services")

    def repair(self) -> None:
        """After a writer was killed: free what no list and no key names, watch what is in force."""
        services, reals = self.plane.services, self.plane.reals
        named: set[int] = set()
        for key in self.plane.service_ids.keys():  # noqa: SIM118 - no dict
            index = self.plane.service_ids.get(key)
            if index is not None and services.get(index, "state") == SlotState.SLOT_USED:
                named.add(index)
            else:  # it was being deleted
                self.plane.service_ids.delete(key)
        for index in range(self.plane.settings.get(0, "services_used")):
            if index not in named:
                services.set(index, "list", 0)
                services.set(index, "state", SlotState.SLOT_FREE)
        listed: set[int] = set()
        for index in self.services():
            listed |= self._repair_list(index)
        for slot in range(self.plane.settings.get(0, "reals_used")):
            if reals.get(slot, "state") == SlotState.SLOT_USED and slot not in listed:
                index = reals.get(slot, "service")
                if index in named:  # else its service has gone, totals and all
                    self._move_totals(index, slot)
                self._leave(slot)
            elif reals.get(slot, "state") == SlotState.SLOT_LEAVING and slot in listed:
                reals.set(slot, "state", SlotState.SLOT_USED)
        self.rebuild_filter()

    def _repair_list(self, index: int) -> set[int]:
        """Has the list in force watched, and undoes an edit that never got into it."""
        in_force, first = self.list_of(index), self.plane.services.get(index, "list")
        self._mend_terms(first, in_force)
        self._watch(first, in_force)
        return {member.real for member in in_force.members}


def together(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """The changes in order, those as one that follow each other and do the same to real servers of
    one service: writing a service's list a thousand times would take seconds.

    Servers that come, those that get weight and those that lose it are kept apart: a weight of 0
    holds from the moment when it is written, the others with the list.
    """
    alone = count()

    def what(change: Change) -> object:
        if isinstance(change, AddRealServer | EditRealServer):
            return type(change), change.service, change.real.weight > 0
        if isinstance(change, DeleteRealServer):
            return DeleteRealServer, change.service
        return next(alone)

    for _, group in groupby(changes, what):
        yield list(group)


def _unknown(real: RealServerKey, service: ServiceKey) -> UnknownRealServer:
    return UnknownRealServer(f"{real} is not a real server of {service}")


def kind_of(service: ServiceKey) -> int:
    """Which of the rarer look-ups the programs have to make for it."""
    if service.mark:
        return Kinds.HAS_MARKS
    if not service.port:
        return Kinds.HAS_EVERY_PORT
    return Kinds.HAS_FTP if (service.protocol, service.port) == FTP else 0


def _check_port(service: ServiceKey, real: RealServer) -> None:
    """SCTP's checksum covers the ports and cannot be mended piece by piece."""
    is_masq = real.method is ForwardingMethod.MASQ
    if service.protocol is Protocol.SCTP and is_masq and real.port not in (0, service.port):
        raise DataplaneError(
            f"{real.key}",
            f"masq cannot change SCTP's port: give it port {service.port}, as {service} has",
        )


def _in_ring(member: Member) -> int:
    return member.real if member.weight else member.real | Limits.QUIESCENT


def _list_chunks(members: int) -> int:
    """An empty list has a chunk, too: its scheduler stands there."""
    return max(1, -(-members // MEMBERS))


def _ring_parts(scheduler: str) -> int:
    places = {"dh": rings.BUCKETS, "sh": rings.BUCKETS, "mh": rings.PLACES}.get(scheduler, 0)
    return -(-places // Limits.RING_PART)


def _positions(states: bytes, wanted: int) -> Iterator[int]:
    at = states.find(wanted)
    while at != -1:
        yield at
        at = states.find(wanted, at + 1)
