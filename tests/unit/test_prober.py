"""The prober: time limits that stop for what is ours, trouble of our own, no secrets in reasons."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest

from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.tools import Tools
from onevip.health.untried import CouldNotTry
from onevip.model import Check, CheckType, OnevipError, Outcome, Secret

GOOD = Outcome(True, "fine")
CHECK = Check(
    *(CheckType.NEGOTIATE, IPv4Address("127.0.0.1"), 80, 3, 1, 0.05, "pop"),
    passwd=Secret("hunter2"),
    secret=Secret("radius-key"),
)
Story = Callable[[Check, Tools], Awaitable[Outcome]]


def tried(probe: Story, check: Check = CHECK) -> Outcome:
    async def run() -> Outcome:
        tools = Tools(Matcher().search)
        try:
            async with asyncio.timeout(10):
                return await attempt(check, "pop", {"pop": probe}, tools)
        finally:
            await tools.close()

    return asyncio.run(run())


def raising(error: BaseException) -> Story:
    async def probe(check: Check, tools: Tools) -> Outcome:
        raise error

    return probe


def test_limits_are_those_of_the_probe():
    ping = Check(CheckType.PING, CHECK.address, 80, 2, 10, 30, ping_count=3)
    assert ping.limit_s("ping") == 6
    combined = Check(CheckType.COMBINED, CHECK.address, 80, 2, 10, 30, "http", connects=3)
    assert (combined.limit_s("connect"), combined.limit_s("http")) == (2, 30)
    assert Check(CheckType.EXTERNAL, CHECK.address, 80, 2, 10, 30).limit_s("external") == 2


def test_waiting_for_what_is_ours_is_not_the_servers_time():
    async def probe(check: Check, tools: Tools) -> Outcome:
        await tools.untimed(asyncio.sleep(0.1))
        return GOOD

    assert tried(probe) == GOOD


def test_the_limit_goes_on_after_a_pause():
    async def probe(check: Check, tools: Tools) -> Outcome:
        await tools.untimed(asyncio.sleep(0.1))
        await asyncio.Event().wait()
        return GOOD

    assert tried(probe) == Outcome(False, "timed out after 0.05 s")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_what_this_machine_lacks_says_nothing_of_the_server(number):
    found = tried(raising(OSError(number, os.strerror(number))))
    assert not found.tried
    assert "director" in found.reason or "machine" in found.reason


def test_what_the_server_does_is_tried():
    assert tried(raising(ConnectionRefusedError(111, ""))) == Outcome(False, "connection refused")
    # An ssl.SSLError's number is OpenSSL's, and may look like any errno.
    assert tried(raising(ssl.SSLError(errno.EMFILE, "bad"))).tried


def test_a_probe_may_raise_its_reason():
    assert tried(raising(OnevipError("no hunter2 here"))) == Outcome(False, "no *** here")


def test_a_probe_may_say_so_itself():
    found = tried(raising(CouldNotTry("no capability")))
    assert found == Outcome(False, "no capability", tried=False)


def test_real_descriptors_may_run_out():
    async def probe(check: Check, tools: Tools) -> Outcome:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await tools.connect(check)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return GOOD

    assert tried(probe) == Outcome(
        False, "the director is out of file descriptors: raise its limit (LimitNOFILE)", tried=False
    )


def test_no_more_probes_at_once_than_there_are_descriptors(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    now = most = 0

    async def probe(check: Check, tools: Tools) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return GOOD

    async def run() -> None:
        tools = Tools(Matcher().search)
        attempts = (attempt(CHECK, "pop", {"pop": probe}, tools) for _ in range(200))
        assert set(await asyncio.gather(*attempts)) == {GOOD}

    asyncio.run(run())
    assert most == 64


def test_a_server_that_repeats_a_secret_does_not_get_it_into_the_reason(caplog):
    async def probe(check: Check, tools: Tools) -> Outcome:
        return Outcome(False, "-ERR bad password 'hunter2' or radius-key")

    assert tried(probe).reason == "-ERR bad password '***' or ***"
    assert tried(raising(ConnectionError("hunter2"))).reason == "***"
    assert "hunter2" not in tried(raising(ValueError("hunter2"))).reason
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_long_reason_is_cut_after_its_secrets_are_hidden():
    async def probe(check: Check, tools: Tools) -> Outcome:
        return Outcome(False, "x" * 196 + "hunter2")

    assert tried(probe).reason == "x" * 196 + "***"
