"""Where in which file a value stands: makes the errors and warnings that name it."""

from __future__ import annotations

from dataclasses import dataclass, field

from onevip.config.lines import Line
from onevip.config.names import PortOf, Resolve
from onevip.model import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """The file being read: its name, how it looks names up, and the warnings so far."""

    file: str
    resolve: Resolve
    port_of: PortOf
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """One line of the file."""

    source: Source
    line: Line
    in_section: bool
    of_mark: bool = False  # in the section of a firewall mark

    def error(self, message: str, hint: str = "", line: int | None = None) -> ConfigError:
        return ConfigError(self.source.file, line or self.line.number, message, hint)

    def unknown(self, hint: str = "") -> ConfigError:
        """ldirectord's words for every line that it cannot place."""
        raw = f'"{self.line.raw}"' if self.in_section else self.line.raw
        return self.error(f"Unknown command {raw}", hint)

    def not_yet(self, what: str, hint: str = "") -> ConfigError:
        return self.error(f"{what} is not supported yet", hint)

    def warn(self, message: str) -> None:
        self.source.warnings.append(f"{self.source.file}:{self.line.number}: {message}")
