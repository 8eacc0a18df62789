"""Choices of bpf/schedule.h without packets (choices.bpf.c), and what its chunks remember."""

from __future__ import annotations

import os
from fractions import Fraction
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from onevip.engines.bpf import libbpf
from onevip.engines.bpf.codec import key_bytes, packed
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.rows import MEMBERS
from onevip.engines.bpf.shapes import Field, Shape, SlotState
from onevip.engines.bpf.writer import Writer
from onevip.model import RealServer
from onevip.schedulers import Member, ServerList
from packet.network import real_address
from packet.objects import compile_object
from packet.wire import MASQ, Director

ORDER = Shape(
    "order",
    72,
    {
        "amount": Field(0, "=Q"),
        "real": Field(8, "=I"),
        "chunks": Field(12, "=I"),
        "checked": Field(16, "=Q"),
        "wrong": Field(24, "=Q"),
        "source": Field(32, "=16s"),
        "destination": Field(48, "=16s"),
        "source_port": Field(64, ">H"),
        "now": Field(68, "=I"),
    },
)
U32, U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
NEVER = float("inf")


class Choices:
    """The scheduler over a director's tables, which hold one service."""

    def __init__(self, director: Director, scratch: Path) -> None:
        self.plane = director.plane
        self.director = director
        target = scratch / "choices.bpf.o"
        compile_object(Path(__file__).with_name("choices.bpf.c"), target)
        reused = {
            path.name: libbpf.get_pinned(path) for path in (self.plane.path / "maps").iterdir()
        }
        self._object = libbpf.Object(target, reuse=reused)
        for fd in reused.values():
            os.close(fd)
        self.orders = MappedArray(os.dup(self._object.maps["orders"]), ORDER, 1)

    def close(self) -> None:
        self._object.close()

    def build(
        self, scheduler: str, weights: list[int], last_weights: list[int] | None = None
    ) -> None:
        """A service whose list this is, head first; member i lies in slot i."""
        self.director.forget()
        self.director.add_service(scheduler)
        writer, service = Writer(self.plane), key_bytes(self.director.service)
        for slot in range(len(weights)):
            self.plane.settings.set(0, "reals_used", slot)
            real = RealServer(IPv4Address(real_address(10 + slot)), 80, MASQ, weights[slot])
            assert writer._new_slot(service, real) == slot
            self.plane.reals.set(slot, "weight", weights[slot])
            self.plane.reals.set(slot, "last_weight", (last_weights or weights)[slot])
            self.plane.reals.set(slot, "state", SlotState.SLOT_USED)
        listed = ServerList(scheduler)
        for slot in reversed(range(len(weights))):
            listed = listed.with_added(Member(slot, weights[slot]))
        writer._publish(0, listed)

    def listed(self) -> ServerList:
        """The list in force."""
        return Writer(self.plane).list_of(0)

    def publish(self, listed: ServerList) -> None:
        Writer(self.plane)._publish(0, listed)

    def run(self, name: str, repeat: int = 1) -> int:
        verdict, _, _ = libbpf.run_program(self._object.programs[name], bytes(64), repeat=repeat)
        assert verdict > -100, f"{name} is broken: {verdict}"
        return verdict

    def look(self) -> int:
        """The slot that a new connection would get, -1 for none."""
        return self.run("look")

    def look_for(self, client: str, vip: str, port: int = 0, now: int = 1) -> int:
        """The same of a packet from this client and port to this VIP, at this clock unit."""
        self.orders.set_bytes(0, "source", packed(ip_address(client)))
        self.orders.set_bytes(0, "destination", packed(ip_address(vip)))
        self.orders.set(0, "source_port", port)
        self.orders.set(0, "now", now)
        return self.look()

    def change(self, slot: int, active: int, inactive: int = 0) -> None:
        """As add_to_counts: so many connections more."""
        self.orders.set(0, "amount", (active << 32) + inactive & U64)
        self.orders.set(0, "real", slot)
        self.run("change")

    def overload(self, slot: int, overloaded: bool) -> None:
        """As counts that reach a threshold, or leave it: then the version moves on."""
        self.plane.real_counts.set(slot, "overloaded", overloaded)
        self.change(slot, 0)

    # What the chunks of the list in force remember.

    @property
    def first_chunk(self) -> int:
        found: int = self.plane.services.get(0, "list")
        return found

    def is_watched(self) -> bool:
        return bool(self.plane.chunks.get(self.first_chunk, "watched"))

    def remembered(self) -> list[int | None]:
        """Each chunk's best member by its index; None where the counts have changed since."""
        chunks, listed = self.plane.chunks, Writer(self.plane).list_of(0)
        found: list[int | None] = []
        for nr in range(-(-len(listed.members) // MEMBERS)):
            best = chunks.get(self.first_chunk + nr, "best")
            is_true = best >> 32 == chunks.get(self.first_chunk + nr, "version")
            found.append(best & U32 if is_true else None)
        return found

    def assert_what_is_remembered_is_true(self, at_least: int = 0) -> None:
        listed, remembered = Writer(self.plane).list_of(0), self.remembered()
        for nr, index in enumerate(remembered):
            if index is not None:
                part = listed.members[nr * MEMBERS : (nr + 1) * MEMBERS]
                prices = [self._price(listed.scheduler, member) for member in part]
                best = prices.index(min(prices)) if min(prices) < NEVER else MEMBERS
                assert index == best, f"chunk {nr}: {prices}"
        assert sum(index is not None for index in remembered) >= at_least

    def best(self) -> int:
        """The slot that `look` must find."""
        listed = Writer(self.plane).list_of(0)
        prices = [self._price(listed.scheduler, member) for member in listed.members]
        return listed.members[prices.index(min(prices))].real

    def _price(self, scheduler: str, member: Member) -> Fraction | float:
        if not member.weight or self.plane.real_counts.get(member.real, "overloaded"):
            return NEVER
        counts = self.plane.real_counts.get(member.real, "counts")
        active, inactive = counts >> 32, counts & U32
        if scheduler in ("fo", "ovf"):
            return (
                Fraction(1, member.weight)
                if scheduler == "fo" or active <= member.weight
                else NEVER
            )
        if scheduler in ("lc", "wlc", "lblc", "lblcr"):
            return Fraction(256 * active + inactive, 1 if scheduler == "lc" else member.weight)
        if scheduler == "nq" and not active:
            return 0
        return Fraction(active + 1, member.weight)
