"""The one error tree. A message says what, where, and what to do; only main() exits."""

from __future__ import annotations

import os


class OnevipError(Exception):
    """Anything that onevip tells its user in one sentence instead of a traceback."""


class ConfigError(OnevipError):
    """A configuration file that cannot be used: which file, which line, why.

    `message` is ldirectord's own wording where it has one; `hint` is what onevip adds to it.
    `column` counts characters from 1, 0: not known; `text` is what stands there and is wrong.
    `verbatim`: ldirectord's words where they hold line ends, else "". `ours`: ldirectord would
    have accepted it, and failed later.
    """

    def __init__(
        self,
        file: str,
        line: int,
        message: str,
        hint: str = "",
        *,
        column: int = 0,
        text: str = "",
        verbatim: str = "",
        ours: bool = False,
    ) -> None:
        place = f"{file}:{line}" if line else file  # 0: the file as a whole
        super().__init__(f"{place}: {message}" + (f"; {hint}" if hint else ""))
        self.file = file
        self.line = line
        self.message = message
        self.hint = hint
        self.column = column
        self.text = text
        self.verbatim = verbatim
        self.ours = ours


class DataplaneError(OnevipError):
    """The kernel or libbpf refused a step of the data plane; `errno` is 0 when there was none."""

    def __init__(self, step: str, message: str, errno: int = 0) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.errno = errno


class HostError(OnevipError):
    """A host's own network (address, sysctl, unit file) could not be set up or put back."""


class UsageError(OnevipError):
    """A command line that makes no sense; nothing was done."""


class TableError(OnevipError):
    """A change that does not fit the table as it is; the table stays as it was."""


class ServiceExists(TableError):
    """AddService for a service that is in the table."""


class UnknownService(TableError):
    """A change that names a service that is not in the table."""


class RealServerExists(TableError):
    """AddRealServer for a real server that the service has."""


class UnknownRealServer(TableError):
    """A change that names a real server that the service does not have."""


class BadThresholds(TableError):
    """A real server whose lower threshold is above its upper one (spec ipvs §5.5)."""


class UnknownScheduler(TableError):
    """A service with a scheduler that this engine does not have."""


def words_of(error: OSError) -> str:
    """`no space left on device`; for want of a privilege also what to do."""
    words = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"{words}: run as root" if isinstance(error, PermissionError) else words
