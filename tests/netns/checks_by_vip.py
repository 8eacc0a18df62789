"""`onevip run FILE` whose service on port 80 is checked by way of the VIP, the others as ever.

For the tests: as a program in the director's namespace, with the file's name.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from onevip import config, daemon, namespace
from onevip.daemon import log
from onevip.engines.bpf import BpfEngine
from onevip.model import CheckPath, Configuration, ConfiguredService


def by_vip(service: ConfiguredService) -> ConfiguredService:
    """The same service with checkpath=vip."""
    return replace(
        service,
        real_servers=tuple(
            replace(server, check=replace(server.check, path=path))
            for server in service.real_servers
            for path in [CheckPath(service.key, server.real.key, server.real.method)]
        ),
    )


def load(file: str) -> Configuration:
    configuration = config.load(file)
    services = (by_vip(one) if one.key.port == 80 else one for one in configuration.services)
    return replace(configuration, services=tuple(services))


if __name__ == "__main__":
    directory = Path("/run/onevip") / namespace.identity()
    with log.to(sys.stderr):
        sys.exit(asyncio.run(daemon.run(sys.argv[1], BpfEngine(), directory, load=load)))
