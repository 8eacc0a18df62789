"""Runs inside a namespace: probes as a JSON list on its input says, all at once.

Each is an object with what a Check says; printed is a list of [healthy, reason, seconds].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import ip_address

from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType, Protocol, Tls, Verify


def check_of(said: dict[str, object]) -> Check:
    limit_s = float(said.pop("limit_s"))
    return Check(
        CheckType.NEGOTIATE,
        ip_address(said.pop("address")),
        said.pop("port"),
        limit_s,
        1,
        limit_s,
        protocol=Protocol[said.pop("protocol", "TCP")],
        tls=Tls(Verify(said.pop("verify", "chain")), said.pop("ca_file", "")),
        **said,
    )


async def tried(said: dict[str, object], tools: Tools) -> tuple[bool, str, float]:
    started = time.monotonic()
    check = check_of(said)
    outcome = await attempt(check, check.service, PROBES, tools)
    return outcome.healthy, outcome.reason, time.monotonic() - started


async def main() -> None:
    matcher = Matcher()
    tools = Tools(matcher.search)
    print(json.dumps(await asyncio.gather(*(tried(each, tools) for each in json.load(sys.stdin)))))
    await matcher.close()


if __name__ == "__main__":
    asyncio.run(main())
