"""The checker: all checks at once, each in its rhythm, on a clock that stands still by itself."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from statistics import mean

from onevip.health import Checker, Probed, Verdict
from onevip.model import Check, CheckType, Outcome

GOOD = Outcome(True, "status 200")


class ManualClock:
    """Time that moves only by `advance`, and then wakes whoever slept until then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, event = heapq.heappop(self._sleepers)
            event.set()
            await settle()
        self.now = end


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def check(number: int = 1, kind: CheckType = CheckType.NEGOTIATE, interval_s: float = 10) -> Check:
    return Check(kind, IPv4Address(f"10.0.0.{number}"), 80, 3, interval_s, service="http")


class Bench:
    """A checker with its clock, and what it did."""

    def __init__(
        self,
        attempt: Callable[[Check], Awaitable[Outcome]] | None = None,
        chance: float | Callable[[], float] = 1.0,
    ) -> None:
        self.clock = ManualClock()
        self.begun: list[tuple[float, Check]] = []
        self.probes: list[str] = []
        self.heard: list[tuple[Check, Verdict]] = []
        self._attempt = attempt
        self.checker = Checker(
            self._note_and_attempt,
            self._report,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=chance if callable(chance) else lambda: chance,
        )

    async def _note_and_attempt(self, check: Check, probe: str) -> Outcome:
        self.begun.append((self.clock.now - 1000, check))
        self.probes.append(probe)
        return await self._attempt(check) if self._attempt else GOOD

    def _report(self, probed: Probed) -> None:
        self.heard.append((probed.check, probed.after.verdict))

    def run(self, story: Callable[[Bench], Awaitable[None]]) -> Bench:
        async def telling() -> None:
            await story(self)
            await self.checker.stop()

        asyncio.run(telling())
        return self


def test_probes_begin_one_interval_apart():
    async def story(bench):
        bench.checker.watch([check()])
        await bench.clock.advance(30.5)

    times = [round(at, 2) for at, _ in Bench().run(story).begun]
    assert times == [0, 10, 20, 30]


def test_first_probes_are_spread_and_the_second_take_their_own_place_in_the_interval():
    async def story(bench):
        bench.checker.watch(check(n) for n in range(1, 201))
        await bench.clock.advance(19)

    bench = Bench(chance=0.5).run(story)
    # Half of 200/1000 s, then half an interval, then whole ones.
    assert {round(at, 2) for at, _ in bench.begun} == {0.1, 5.1, 15.1}


def test_a_slow_probe_delays_no_other_and_not_its_own_next_one_by_more_than_itself():
    async def story(bench):
        async def attempt(probed: Check) -> Outcome:
            if probed == check(1):
                await bench.clock.sleep(12)
            return GOOD

        bench._attempt = attempt
        bench.checker.watch([check(1), check(2)])
        await bench.clock.advance(20.5)

    begun = Bench().run(story).begun
    assert [round(at) for at, probed in begun if probed == check(1)] == [0, 12]
    assert [round(at) for at, probed in begun if probed == check(2)] == [0, 10, 20]


def test_equal_checks_share_one_probe():
    async def story(bench):
        bench.checker.watch([check(), check(), check()])
        await bench.clock.advance(1)

    assert len(Bench().run(story).begun) == 1


def test_on_and_off_are_never_probed():
    async def story(bench):
        bench.checker.watch([check(1, CheckType.ON), check(2, CheckType.OFF)])
        await bench.clock.advance(100)
        verdicts = {c.type: state.verdict for c, state in bench.checker.states.items()}
        assert verdicts == {CheckType.ON: Verdict.UP, CheckType.OFF: Verdict.DOWN}

    assert Bench().run(story).begun == []


def test_a_check_that_stays_keeps_its_verdict_and_its_rhythm():
    async def story(bench):
        bench.checker.watch([check(1), check(2)])
        await bench.clock.advance(5)
        bench.checker.watch([check(1), check(3)])
        states = bench.checker.states
        assert {c: s.verdict for c, s in states.items()} == {
            check(1): Verdict.UP,
            check(3): Verdict.UNPROVEN,
        }
        await bench.clock.advance(7)

    begun = Bench().run(story).begun
    assert [round(at) for at, probed in begun if probed == check(1)] == [0, 10]
    assert [round(at) for at, probed in begun if probed == check(2)] == [0]
    assert [round(at) for at, probed in begun if probed == check(3)] == [5]


def test_a_report_that_fails_does_not_end_the_check(caplog):
    async def story(bench):
        bench._report = None
        bench.checker._report = lambda *_: 1 / 0
        bench.checker.watch([check()])
        await bench.clock.advance(15)

    assert len(Bench().run(story).begun) == 2
    assert "ZeroDivisionError" in caplog.text


def test_jitter_spreads_the_periods_around_the_interval():
    dice = random.Random(7)

    async def story(bench):
        bench.checker.watch([replace(check(), jitter=20)])
        await bench.clock.advance(5000)

    times = [at for at, _ in Bench(chance=dice.random).run(story).begun]
    periods = [later - earlier for earlier, later in pairwise(times[1:])]
    assert 8 <= min(periods) < 8.2
    assert 11.8 < max(periods) <= 12
    assert abs(mean(periods) - 10) < 0.2


def test_a_combined_check_negotiates_once_in_a_while():
    async def story(bench):
        bench.checker.watch([replace(check(1, CheckType.COMBINED), connects=2)])
        await bench.clock.advance(60.5)

    assert Bench().run(story).probes == [*("http", "connect", "connect") * 2, "http"]


def test_trouble_of_the_directors_own_keeps_verdicts_and_is_logged_once(caplog):
    tried = GOOD

    async def story(bench):
        nonlocal tried

        async def attempt(_: Check) -> Outcome:
            return tried

        bench._attempt = attempt
        bench.checker.watch([check(1), check(2)])
        await bench.clock.advance(1)
        tried = Outcome(False, "out of file descriptors", tried=False)
        await bench.clock.advance(300)
        assert {state.verdict for state in bench.checker.states.values()} == {Verdict.UP}

    Bench().run(story)
    assert caplog.messages == [
        "servers keep their verdicts because checks cannot be made: out of file descriptors"
    ]
