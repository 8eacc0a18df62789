"""Persistence under fire: templates and the connections under them, as test_stress.py does it.

The clients come from one part of their networks after another, so that templates age alone and are
found again as they end. Afterwards each template must count the connections that name it, and each
real server its templates. Seconds; ONEVIP_STRESS_S=60 for longer.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import NamedTuple

import pytest

from onevip.engines.bpf import libbpf, loader
from onevip.engines.bpf.shapes import Limits
from onevip.engines.bpf.slots import (
    DISABLED,
    GENERATION_SHIFT,
    SLOT,
    TEMPLATE,
    TEMPLATE_TIMEOUT,
)
from onevip.model import DeleteService, RealServer, ServiceKey, ServiceOptions
from packet.network import real_address
from packet.test_stress import (
    PACKETS_A_RUN,
    PATIENCE_S,
    Edits,
    Generator,
    Happened,
    Shape,
    assert_counters_equal_contents,
    at_work,
    back_to_one_table,
    compiled,  # noqa: F401 - fixtures
    crowd,
    doors,  # noqa: F401
    during,
    end_all,
    generator,  # noqa: F401
    live_slots,
)
from packet.wire import FOREVER, GATE, MASQ, Director

CONTROLLED = 1 << 12
COUNT_SHIFT, COUNT = 24, 0xFFFFFF  # connections, in a template's word
HANDLE_GENERATION, GENERATION = 48, 0x3FFF
IS_TEMPLATE_WORD = 1 << 63
PARTS = 6  # of the clients: one after the other
ENOUGH = 10  # templates made at each door, and ended
SHAPES = {
    "few networks": Shape(64, 4),
    "crowded": Shape(320, 3, crowded=True),  # in 21 places for 20 networks, and evictions
    "flood": Shape(320, 1, crowded=True, only_syn=True),  # no template is assured: all may go
    "turning tables": Shape(64, 4, turning=True),
}


class Template(NamedTuple):
    """A live one: how many connections it counts, and whom it leads to."""

    connections: int
    real: int


@dataclass
class Held:
    """Templates by their handles, and how many connections name each handle."""

    templates: dict[int, Template]
    disabled: int
    named: Counter[tuple[int, int]]  # handle and real server
    strangers: int  # words that are not of their template, and what lies where it must not

    @classmethod
    def by(cls, tc: Director) -> Held:
        found = cls({}, 0, Counter(), 0)
        tables = tc.plane.tables
        for number, table in zip(tables._in_use(), tables.open(), strict=True):
            for slot, control in live_slots(table):
                if not control & (TEMPLATE | CONTROLLED):
                    continue
                word, real = table.get(slot, "word"), table.get(slot, "real")
                bucket, way = divmod(slot, Limits.WAYS)
                found.strangers += not way  # the bucket's own word is there
                if control & CONTROLLED:
                    found.named[word, real] += 1
                    continue
                generation = control >> GENERATION_SHIFT & GENERATION
                found.strangers += word >> HANDLE_GENERATION != (
                    generation | IS_TEMPLATE_WORD >> HANDLE_GENERATION
                )
                found.disabled += bool(control & DISABLED)
                where = number << 40 | bucket << 8 | way
                handle = generation << HANDLE_GENERATION | where
                found.templates[handle] = Template(word >> COUNT_SHIFT & COUNT, real)
        return found


def gauges_of(tc: Director, field: str) -> Counter[int]:
    """`persistent` or `overloaded` of every real server that there ever was; not those of 0."""
    used = tc.plane.settings.get(0, "reals_used")
    return +Counter({slot: tc.plane.real_counts.get(slot, field) for slot in range(used)})


def assert_templates_count_what_names_them(tc: Director) -> Held:
    """At rest. And all that holds of plain connections."""
    assert_counters_equal_contents(tc)
    held = Held.by(tc)
    assert held.strangers == 0, "templates or connections under one that are not where they say"
    real_of = {handle: template.real for handle, template in held.templates.items()}
    lost = [handle for handle, real in held.named if real_of.get(handle) != real]
    assert lost == [], "connections without their template, or of another real server"
    counted = {h: template.connections for h, template in held.templates.items()}
    named = Counter({handle: times for (handle, _), times in held.named.items()})
    assert +Counter(counted) == named, "templates do not count the connections under them"
    led = Counter(real_of.values())
    assert gauges_of(tc, "persistent") == led, "the gauges are not the templates that there are"
    return held


class PersistentEdits(Edits):
    """The same writer over persistent services, with thresholds now and then."""

    options = ServiceOptions(persistent_s=1, netmask=IPv4Address("255.255.255.240"))
    schedulers = ("rr", "wlc")
    timeout = 1  # of new templates, in units of the clock: shorter than ipvsadm can say

    def _real(self, number: int, weight: int = 1) -> RealServer:
        method, upper = MASQ if number % 2 else GATE, self._dice.choice([0, 2, 8, 100])
        return RealServer(
            IPv4Address(real_address(10 + number)), 80, method, weight, upper, upper // 4
        )

    def _rebuild(self, service: ServiceKey) -> None:
        super()._rebuild(service)
        self._time()

    def one(self) -> None:
        super().one()
        self._time()
        for name in ("expire_nodest_conn", "expire_quiescent_template"):
            self._tc.plane.settings.set(0, name, self._dice.randrange(2))

    def _time(self) -> None:
        for index in range(self._tc.plane.settings.get(0, "services_used")):
            self._tc.plane.services.set(index, "timeout", self.timeout)


def stop_the_sweeper(tc: Director) -> None:
    """Else templates would end, and be given another minute, while we look."""
    timer = libbpf.get_pinned(tc.plane.path / "maps" / "sweeper")
    libbpf.map_update(timer, bytes(4), bytes(16))  # this cancels the timer
    os.close(timer)


def let_templates_end(tc: Director) -> None:
    """Writes the map: some of them have another minute."""
    for table in tc.plane.tables.open(writable=True):
        for slot, control in live_slots(table):
            if control & TEMPLATE:
                table.set(slot, "word", table.get(slot, "word") & ~TEMPLATE_TIMEOUT)


@pytest.mark.parametrize("name", SHAPES)
def test_templates_count_what_is_under_them_after_a_storm(
    doors: tuple[Director, Director],  # noqa: F811
    generator: Generator,  # noqa: F811
    name: str,
) -> None:
    tc, shape, edits = doors[0], SHAPES[name], PersistentEdits(doors[0])
    dice = random.Random(2)
    loader.rearm(tc.plane)
    if shape.crowded:
        crowd(tc)
    generator.plan(shape)
    edits.build()
    tc.set_timeouts(0)  # whatever a sweeper meets is due, but for templates
    first, *_, last = sorted(os.sched_getaffinity(0))
    happened, overloaded = Happened(tc), 0

    def made() -> list[int]:
        return [seen["new_templates"] for seen in happened.by_door().values()]

    def has_stormed() -> bool:
        persistent = gauges_of(tc, "persistent").total()
        return (
            happened.is_enough(shape)
            and min(made()) > ENOUGH < sum(made()) - persistent
            and bool(overloaded and (edits.turns > 2 or not shape.turning))
        )

    with (
        at_work(first, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_xdp", PACKETS_A_RUN)),
    ):
        with at_work(first, lambda: generator.run("sweep_all")):
            for _ in during(has_stormed, "templates at both doors, and thresholds"):
                generator.plan(shape, first=shape.clients * dice.randrange(PARTS))
                edits.turn() if shape.turning and dice.randrange(2) else edits.one()
                overloaded += len(gauges_of(tc, "overloaded"))
        tc.set_timeouts(FOREVER)  # what comes now stays
        until = time.monotonic() + PATIENCE_S
        while not Held.by(tc).named:
            assert time.monotonic() < until, "nothing stays"
    stop_the_sweeper(tc)
    held = assert_templates_count_what_names_them(tc)
    print(
        f"{name}: {sum(made())} templates, {edits.done} edits, {edits.turns} turns of the table,"
        f" overloads seen {overloaded} times; at the end {len(held.templates)} templates,"
        f" {held.disabled} disabled, over {held.named.total()} connections;"
        f" {edits.retired} tables retired"
    )
    assert held.named
    end_all(tc, generator)
    held = assert_templates_count_what_names_them(tc)
    assert not held.named
    let_templates_end(tc)
    generator.run("sweep_all")
    assert assert_templates_count_what_names_them(tc).templates == {}
    assert gauges_of(tc, "overloaded") == Counter(), "overloaded without a connection"
    if shape.turning:
        back_to_one_table(tc)


def twice(tc: Director) -> set[bytes]:
    """Keys that live more than once, but for disabled templates."""
    found = Counter(
        table._map[slot * SLOT + 16 : slot * SLOT + 56]
        for table in tc.plane.tables.open()
        for slot, control in live_slots(table)
        if not (control & TEMPLATE and control & DISABLED)
    )
    return {key for key, times in found.items() if times > 1}


def test_two_cpus_make_the_same_templates_at_once(
    doors: tuple[Director, Director],  # noqa: F811
    generator: Generator,  # noqa: F811
) -> None:
    """Nothing ends but with its service: what is in the table twice stays there, to be seen."""
    tc, edits, rounds = doors[0], PersistentEdits(doors[0]), 0
    generator.plan(Shape(256, 1, only_syn=True))
    edits.options = replace(edits.options, persistent_s=3600)
    edits.timeout = FOREVER - 1
    edits.build()
    tc.plane.settings.set(0, "expire_nodest_conn", 1)
    tc.set_timeouts(FOREVER)
    stop_the_sweeper(tc)
    first, *_, last = sorted(os.sched_getaffinity(0))

    def are_some() -> bool:
        return rounds > 1

    with (
        at_work(first, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
        at_work(last, lambda: generator.run("from_client_tc", PACKETS_A_RUN)),
    ):
        for _ in during(are_some, "two rounds"):
            tc.apply(*(DeleteService(service) for service in edits.services))
            generator.run("sweep_all")
            generator.run("sweep_all")  # templates that it met before the connections under them
            edits.build()
            time.sleep(0.002)
            rounds += 1
            # a second look: between two slots, one may be disabled and another made
            assert twice(tc) & twice(tc) == set(), "a key lives twice"
    held = assert_templates_count_what_names_them(tc)
    print(f"{rounds} rounds, {len(held.templates)} templates at the end")
    assert held.named
