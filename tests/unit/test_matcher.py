"""The matcher: whose patterns are slow, who waits for them, and what a dead worker means."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import pytest

from onevip.health import matcher as matching
from onevip.health.matcher import MAX_WORKERS, Matcher, TooSlow
from onevip.health.untried import CouldNotTry

BACKTRACKING = "(a+)+b"
SICK = b"a" * 40


def with_matcher(story: Callable[[Matcher], Awaitable[None]], cpu_limit_s: float = 0.2) -> None:
    async def run() -> None:
        matcher = Matcher(cpu_limit_s)
        try:
            async with asyncio.timeout(30):
                await story(matcher)
        finally:
            await matcher.close()

    asyncio.run(run())


async def cancelled(tasks: list[asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_new_slow_pattern_of_many_servers_delays_no_other():
    """Nobody knows yet that it is slow, and a hundred bodies wait to be searched for it."""

    async def story(matcher):
        slow = [asyncio.create_task(matcher.search(BACKTRACKING, SICK)) for _ in range(100)]
        await asyncio.sleep(0)
        for _ in range(20):
            assert await matcher.search("x+y", b"xxy")
        assert not any(task.done() for task in slow)
        with pytest.raises(TooSlow):
            await slow[0]
        # Now it is known; those that waited are not let loose on the workers.
        await asyncio.sleep(0)
        assert await matcher.search("x+y", b"xxy")
        assert sum(task.done() for task in slow) == 1
        await cancelled(slow)

    with_matcher(story, cpu_limit_s=1)


def test_a_slow_pattern_still_finds_what_it_finds_fast():
    async def story(matcher):
        with pytest.raises(TooSlow):
            await matcher.search(BACKTRACKING, SICK)
        assert await matcher.search(BACKTRACKING, b"aab")
        assert not await matcher.search(BACKTRACKING, b"c")

    with_matcher(story)


def test_slow_patterns_rest_between_their_searches():
    async def story(matcher):
        with pytest.raises(TooSlow):
            await matcher.search(BACKTRACKING, SICK)
        with pytest.raises(TooSlow):
            await matcher.search(BACKTRACKING, SICK)
        ended = time.monotonic()
        await matcher.search(BACKTRACKING, b"aab")
        assert time.monotonic() - ended >= matching.REST * 0.2 - 0.01

    with_matcher(story)


def test_a_worker_that_dies_blames_neither_pattern_nor_server_and_is_replaced():
    async def story(matcher):
        assert await matcher.search("x+y", b"xxy")
        matcher._idle[0].kill()
        await matcher._idle[0].wait()
        with pytest.raises(CouldNotTry, match="has died"):
            await matcher.search("x+y", b"xxy")
        assert await matcher.search("x+y", b"xxy")
        assert not matcher._slow

    with_matcher(story)


def test_a_worker_that_cannot_be_started_blames_no_server(monkeypatch):
    async def story(matcher):
        with pytest.raises(CouldNotTry, match="patterns cannot be matched"):
            await matcher.search("x+y", b"xxy")

    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with_matcher(story)


def test_a_long_search_is_not_done_in_the_loop():
    """No repetition, but a thousand classes tried at each of a million places."""

    async def story(matcher):
        long = asyncio.create_task(matcher.search("[ab]" * 1000 + "c", b"a" * (1 << 20)))
        await asyncio.sleep(0)
        assert await matcher.search("plain", b"plain")
        assert not long.done()
        with pytest.raises(TooSlow):
            await long

    with_matcher(story)


def test_no_more_workers_than_there_may_be():
    async def story(matcher):
        patterns = [f"x+{number}" for number in range(3 * MAX_WORKERS)]
        found = await asyncio.gather(*(matcher.search(p, p.encode() * 9) for p in patterns))
        assert found == [False] * len(patterns)
        assert 1 <= len(matcher._idle) <= MAX_WORKERS

    with_matcher(story)


def test_a_search_that_is_given_up_ends_its_worker():
    async def story(matcher):
        searching = asyncio.create_task(matcher.search(BACKTRACKING, SICK))
        await asyncio.sleep(0.05)
        await cancelled([searching])
        assert not matcher._idle
        assert matcher._free._value == MAX_WORKERS

    with_matcher(story, cpu_limit_s=60)
