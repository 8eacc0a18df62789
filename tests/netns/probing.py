"""Runs in a network namespace: probes what its input says, prints what it found, as JSON.

Input: {"checks": [{"type": …, "address": …, …}], "marks": {address: mark}}. Output: a list of
[healthy, tried, reason, seconds].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import ip_address
from typing import Any

from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Protocol


def check_of(told: dict[str, Any]) -> Check:
    """Defaults: a ping of one try, one second."""
    details = {"port": 80, "timeout_s": 1.0, "interval_s": 1.0, **told}
    details["type"] = CheckType(details.get("type", "ping"))
    details["protocol"] = Protocol(details.get("protocol", Protocol.TCP))
    details["address"] = ip_address(details["address"])
    return Check(**details)


async def probed(orders: dict[str, Any]) -> list[tuple[bool, bool, str, float]]:
    marks = orders.get("marks", {})
    tools = Tools(Matcher().search, lambda check: marks.get(str(check.address), 0))

    async def tried(check: Check) -> tuple[bool, bool, str, float]:
        started = time.monotonic()
        found = await attempt(check, check.probes[-1], PROBES, tools)
        return found.healthy, found.tried, found.reason, time.monotonic() - started

    try:
        return await asyncio.gather(*(tried(check_of(told)) for told in orders["checks"]))
    finally:
        await tools.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probed(json.load(sys.stdin)))))
