"""Prices that are measured in every run beside the data plane's, to judge the run by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from benchmarks.cases import MANY
from benchmarks.measuring import Cost, Round, Timing, cost_of
from benchmarks.rig import XDP_PASS, XDP_TX, Rig, Way
from benchmarks.sections import BenchmarkError
from benchmarks.traffic import plain


@dataclass(frozen=True, slots=True)
class Primitive:
    """A small program of generator.bpf.c behind the wrapper."""

    name: str
    program: str
    flows: int = 1
    verdict: int = XDP_TX


PRIMITIVES = (
    Primitive("price: bare PASS", "let_pass", verdict=XDP_PASS),
    Primitive("price: MAC swap", "swap_macs"),
    Primitive("price: adjust_head there and back", "grow"),
    Primitive("one HASH lookup, 1 flow", "look_up"),
    Primitive("one HASH lookup, 128k flows", "look_up", MANY),
)


def _empty(rig: Rig) -> Cost:
    measured = rig.measure(Way(plain()), lambda: Timing(0, 0, 0))
    empties = [one.empty for one in measured.rounds]
    return Cost(empty=median(empties), net=0.0, least=0.0)


def _wrapper(rig: Rig) -> Cost:
    """What the wrapper costs more than the empty program: in no other result."""
    measured = rig.measure(Way(plain()), lambda: Timing(0, 0, 0))
    return cost_of([Round(one.empty, one.empty, one.floor) for one in measured.rounds])


def _primitive(rig: Rig, wanted: Primitive) -> Cost:
    way = Way(plain(wanted.flows))
    if wanted.program == "look_up":
        written = Way(replace(way.traffic, in_order=True))
        rig.through(written, "write_down", packets=wanted.flows)

    def once() -> Timing:
        done = rig.through(way, wanted.program)
        if done.verdict != wanted.verdict or rig.generator.misses:
            raise BenchmarkError(
                f"verdict {done.verdict}, {rig.generator.misses} lookups found nothing"
            )
        return done

    return rig.measure(way, once).cost


def all_of(rig: Rig) -> dict[str, Callable[[], Cost]]:
    """By the names that they have as cases."""
    return {
        "price: empty program": partial(_empty, rig),
        "price: wrapper and bare TX": partial(_wrapper, rig),
        **{one.name: partial(_primitive, rig, one) for one in PRIMITIVES},
    }
