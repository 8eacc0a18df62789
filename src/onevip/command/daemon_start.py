"""How a daemon is run, whichever command starts it: `onevip run` and `ldirectord start` are one."""

# ruff: noqa: PLC0415 - asyncio and the daemon are loaded when they are needed, not for --help.

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from onevip import namespace
from onevip.command.environment import Environment

if TYPE_CHECKING:
    from onevip.daemon.events import Listener


def keep_table(file: str, environment: Environment, *listeners: Listener) -> int:
    """Keep the table as the file says until a signal comes; the exit status.

    The listeners hear of it first, then those that every daemon has. Raises OnevipError when it
    cannot start.
    """
    import asyncio

    from onevip.config import needs
    from onevip.daemon import run
    from onevip.host import surroundings

    _raise_descriptor_limit()
    return asyncio.run(
        run(
            file,
            environment.engine(),
            run_directory(environment),
            surroundings=surroundings.look,
            advice=needs.missing,
            listeners=(*listeners, *_of_every_daemon()),
        )
    )


def run_directory(environment: Environment) -> Path:
    """Where daemons of this network namespace keep their files."""
    return Path(environment.state_directory) / namespace.identity()


def _of_every_daemon() -> Iterable[Listener]:
    from onevip.daemon.service_manager import ServiceManager

    if address := os.environ.get("NOTIFY_SOCKET"):
        yield ServiceManager(address)


def _raise_descriptor_limit() -> None:
    """A thousand checks may hang at once, each on its socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some containers forbid it: then it stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
