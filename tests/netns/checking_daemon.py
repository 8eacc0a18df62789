"""A whole daemon in a network namespace, its configuration given as JSON instead of as a file.

Arguments: its run directory. Input: a list of checks as in probing.py. Its table is in memory; its
log goes to standard output.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from probing import check_of

from onevip.daemon import run
from onevip.engines.memory import MemoryEngine
from onevip.model import (
    Configuration,
    ConfiguredRealServer,
    ConfiguredService,
    Protocol,
    RealServer,
    ServiceKey,
)

VIP = IPv4Address("192.0.2.1")


def configuration(checks: list[dict[str, Any]]) -> Configuration:
    """A service for each check, on ports from 1000."""
    services = []
    for number, told in enumerate(checks):
        check = check_of(told)
        real = ConfiguredRealServer(RealServer(IPv4Address("10.77.0.2"), 80), check)
        key = ServiceKey(Protocol.TCP, VIP, 1000 + number)
        services.append(ConfiguredService(key, "rr", (real,)))
    return Configuration("checks.cf", tuple(services))


def main() -> int:
    wanted = configuration(json.load(sys.stdin))
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    run_directory = Path(sys.argv[1])
    (run_directory / "checks.cf").touch()
    file = str(run_directory / "checks.cf")
    return asyncio.run(run(file, MemoryEngine(), run_directory, load=lambda _: wanted))


if __name__ == "__main__":
    sys.exit(main())
