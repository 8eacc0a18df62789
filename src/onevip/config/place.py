"""Where in which file a value stands: makes the errors and warnings that name it."""

from __future__ import annotations

from dataclasses import dataclass, field

from onevip.config.lines import Line, without_secrets
from onevip.config.world import World
from onevip.model import ConfigError


@dataclass(frozen=True, slots=True)
class ConfigWarning:
    """What is accepted, but not silently. Shaped as a ConfigError.

    `ours`: ldirectord does not say it. `placed`: ldirectord names file and line with it.
    """

    file: str
    line: int
    message: str
    column: int = 0
    text: str = ""
    ours: bool = True
    placed: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Source:
    """The file being read: its name, the machine, and what there is to say so far, in order."""

    file: str
    world: World
    said: list[ConfigWarning | ConfigError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """One line of the file."""

    source: Source
    line: Line
    in_section: bool
    of_mark: bool = False  # in the section of a firewall mark
    version: int = 4  # of IP, in a section
    supervised: bool = False  # a line before said so

    def error(
        self, message: str, hint: str = "", *, at: str = "", line: int = 0, ours: bool = False
    ) -> ConfigError:
        """`at`: the part of the value that is wrong, "": all of it. `line`: if not this one."""
        message = without_secrets(message)
        where = (line, 0, "") if line else (self.line.number, *self._offending(at))
        number, column, text = where
        return ConfigError(
            self.source.file, number, message, hint, column=column, text=text, ours=ours
        )

    def refusal(self, message: str, hint: str = "", *, at: str = "") -> ConfigError:
        """Of what ldirectord takes, and fails to put into the table later."""
        return self.error(message, hint, at=at, ours=True)

    def unknown(self, hint: str = "") -> ConfigError:
        """ldirectord's words for every line that it cannot place."""
        shown, end = self.line.shown, self.line.end
        quote, last = ('"', "") if self.in_section else ("", " ")
        return ConfigError(
            self.source.file,
            self.line.number,
            f"Unknown command {quote}{shown}{quote}",
            hint,
            column=len(shown) - len(shown.lstrip()) + 1,
            text=shown.strip(),
            verbatim=f"Unknown command {quote}{shown}{end}{quote}{last}",
        )

    def warn(self, message: str, *, at: str = "", ours: bool = True, placed: bool = True) -> None:
        self.source.said.append(
            ConfigWarning(
                self.source.file, self.line.number, message, *self._offending(at), ours, placed
            )
        )

    def _offending(self, at: str) -> tuple[int, str]:
        """Column and text; no text of a line that holds a password."""
        if self.line.shown != self.line.raw:
            return self.line.find(""), ""
        parts = self.line.directive()
        return self.line.find(at), (at or (parts[1] if parts else self.line.text)).strip()
