"""Random lives of a director: the BPF programs do what the reference does, step by step.

ONEVIP_STRESS_S lets them live longer. What was compared is counted and printed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress

from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from packet.frozen.director import FrozenDirector
from packet.lives import BUILT, STEPS, Life
from packet.twins import Twins, Undecided

FOR_S = max(20.0, float(os.environ.get("ONEVIP_STRESS_S", "0")))
LIVES_AT_A_TIME = 40


def test_any_life_is_as_the_reference_says(frozen: FrozenDirector) -> None:
    tally: Counter[str] = Counter()

    @settings(
        max_examples=LIVES_AT_A_TIME,
        deadline=None,
        suppress_health_check=[*HealthCheck],
        report_multiple_bugs=False,
    )
    @given(
        chance=st.integers(0, 2**64 - 1),
        built=BUILT,
        steps=STEPS,
    )
    def live(
        chance: int, built: list[tuple[bytes, list[bytes]]], steps: list[tuple[str, bytes]]
    ) -> None:
        life = Life(Twins(frozen, chance, tally, note))
        with suppress(Undecided):
            life.build(built)
            for name, numbers in steps:
                life.step(name, numbers)

    began, turn = time.monotonic(), 0
    while time.monotonic() - began < FOR_S:
        seed(time.time_ns() + turn)(live)()
        turn += 1
    print("\ncompared:", ", ".join(f"{tally[name]} {name}" for name in tally))
    assert min(tally[name] for name in ("edits", "packets", "connections", "expiries")) > 0
