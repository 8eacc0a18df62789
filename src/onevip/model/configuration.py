"""What an ldirectord.cf asks for. Values only; `config.parse` makes them from text."""

from __future__ import annotations

from dataclasses import dataclass, field

from onevip.model.check import Check
from onevip.model.service import PLAIN, RealServer, ServiceKey, ServiceOptions


@dataclass(frozen=True, slots=True)
class ConfiguredRealServer:
    """A `real=` line: the real server at its full weight, and how it is checked."""

    real: RealServer
    check: Check


@dataclass(frozen=True, slots=True)
class ConfiguredService:
    """A `virtual=` section with all defaults resolved."""

    key: ServiceKey
    scheduler: str
    real_servers: tuple[ConfiguredRealServer, ...]
    fallback: RealServer | None = None
    quiescent: bool = False
    cleanstop: bool = True
    options: ServiceOptions = PLAIN
    line: int = 0  # where the section begins, for messages


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole ldirectord.cf."""

    file: str
    services: tuple[ConfiguredService, ...]
    autoreload: bool = False
    check_interval_s: float = 10.0  # also how often autoreload looks at the file
    is_blank: bool = False  # not even a comment: nobody meant it so
    warnings: tuple[str, ...] = field(default=(), compare=False)  # "file:line: sentence"
