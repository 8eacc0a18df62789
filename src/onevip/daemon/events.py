"""What happens in a daemon, as values: the director tells, listeners make log lines, mails and
calls of programs of it. Nobody who listens decides anything about the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from onevip import health
from onevip.model import (
    Change,
    Configuration,
    ConfiguredService,
    OnevipError,
    Phase,
    RealServer,
    RealServerKey,
    ServiceKey,
    Table,
)

#: A real server in a service: one row of the table, present or not.
Row = tuple[ServiceKey, RealServerKey]


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe has ended, whether or not it changed anything. `rows` share its check.

    `in_maintenance`: those of them that are down whatever was found.
    """

    probed: health.Probed
    rows: tuple[Row, ...]
    configuration: Configuration
    in_maintenance: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class VerdictChanged:
    """A real server is up or down now; `before` and `after` are its row of the table.

    `applied`: the table follows; False while it cannot be changed.
    """

    row: Row
    state: health.State
    before: RealServer | None
    after: RealServer | None
    applied: bool


@dataclass(frozen=True, slots=True)
class TableChanged:
    """One change that is in force now. `before` is the table before all changes made with it.

    `verdict`: what made it, None when no change of verdict did.
    """

    change: Change
    before: Table
    phase: Phase
    configuration: Configuration
    verdict: health.State | None


@dataclass(frozen=True, slots=True)
class FallbackTurned:
    """From some real server up to none (`on`), or back. Told for each service at the start, too."""

    service: ConfiguredService
    on: bool


@dataclass(frozen=True, slots=True)
class Started:
    """The first configuration is in force."""

    configuration: Configuration


@dataclass(frozen=True, slots=True)
class FileChanged:
    """There is other content in the file; with autoreload it is read now. Not told of what SIGHUP
    found first."""

    configuration: Configuration  # the one still in force


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Another configuration is in force; `former` was."""

    configuration: Configuration
    former: Configuration


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """The file is broken; the configuration in force stays."""

    configuration: Configuration
    error: OnevipError


@dataclass(frozen=True, slots=True)
class Stopping:
    """A signal came, "TERM" for SIGTERM; the table is as it was."""

    configuration: Configuration
    signal: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end: services with cleanstop are deleted. `clean`: all of them could be."""

    configuration: Configuration
    clean: bool


Event = (
    Probed
    | VerdictChanged
    | TableChanged
    | FallbackTurned
    | Started
    | FileChanged
    | Reloaded
    | NotReloaded
    | Stopping
    | Stopped
)


class Listener(Protocol):
    """Is told everything, in order, in the daemon's loop."""

    def heard(self, event: Event) -> None:
        """Must return at once: what takes time becomes a task. An exception is logged."""
        ...

    async def close(self) -> None:
        """After Stopped, or when the start failed: finish or end what was begun, within seconds."""
        ...
