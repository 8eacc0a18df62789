"""What reading a file found: the configuration, or everything that is wrong with it at once."""

from __future__ import annotations

from dataclasses import dataclass

from onevip.config.given import Given
from onevip.config.place import ConfigWarning
from onevip.config.sections import SectionRead
from onevip.config.wording import transcript
from onevip.model import ConfigError, Configuration


@dataclass(frozen=True, slots=True)
class Reading:
    """`errors`: ldirectord's first one comes first; then what only onevip refuses.

    `said`: errors and warnings in ldirectord's order. `lines`: the file as it may be shown, without
    passwords.
    """

    file: str
    configuration: Configuration | None
    said: tuple[ConfigWarning | ConfigError, ...]
    lines: tuple[str, ...]
    globally: Given
    sections: tuple[SectionRead, ...]

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        found = [one for one in self.said if isinstance(one, ConfigError)]
        return tuple(sorted(found, key=lambda error: error.ours))

    @property
    def warnings(self) -> tuple[ConfigWarning, ...]:
        return tuple(one for one in self.said if isinstance(one, ConfigWarning))

    def as_ldirectord(self, pid: int) -> list[str]:
        """What ldirectord prints of this file: warnings, up to its first error."""
        theirs = [one for one in self.said if not (isinstance(one, ConfigError) and one.ours)]
        ours = [one for one in self.errors if one.ours]
        return transcript([*theirs, *ours], pid)

    def result(self) -> Configuration:
        """The configuration. Raises the first error."""
        if self.configuration is None:
            raise self.errors[0]
        return self.configuration
