"""A daemon as `onevip run` makes it, on a table in memory; what the test wants is put into its
configuration: `python outside_daemon.py FILE RUN_DIRECTORY`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from onevip.config import load
from onevip.daemon import log, run
from onevip.engines.memory import MemoryEngine
from onevip.model import Configuration, ConfiguredRealServer, MailAlert, Secret


def loaded(file: str) -> Configuration:
    """The file, and what FILE.json adds to each of its services."""
    configuration = load(file)
    wanted = json.loads(Path(f"{file}.json").read_text())
    mail = wanted.pop("mail")
    services = tuple(
        replace(
            service,
            **wanted["service"],
            mail=MailAlert(**{**mail, "to": tuple(mail["to"])}),
            real_servers=tuple(
                _with_secrets(server, wanted["secret"]) for server in service.real_servers
            ),
        )
        for service in configuration.services
    )
    return replace(configuration, services=services, **wanted["configuration"])


def _with_secrets(server: ConfiguredRealServer, secret: str) -> ConfiguredRealServer:
    check = replace(server.check, login="joe", passwd=Secret(secret), secret=Secret(secret))
    return replace(server, check=check)


if __name__ == "__main__":
    with log.to(sys.stderr):
        sys.exit(asyncio.run(run(sys.argv[1], MemoryEngine(), Path(sys.argv[2]), load=loaded)))
