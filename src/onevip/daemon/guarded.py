"""Calls of a daemon that may fail without ending anything."""

from __future__ import annotations

import logging
from collections.abc import Callable

from onevip.model import OnevipError

log = logging.getLogger(__name__)


def nothing() -> list[str]:
    """Does nothing, says nothing."""
    return []


def optional(owner: object, name: str) -> Callable[[], list[str] | None]:
    """A method that not every engine has."""
    found: Callable[[], list[str] | None] = getattr(owner, name, nothing)
    return found


class Guarded:
    """A call whose failure is logged and ends nothing; its words too, each time they are new."""

    def __init__(self, function: Callable[[], list[str] | None]) -> None:
        self._function = function
        self._said: list[str] = []

    def __call__(self) -> None:
        try:
            said = self._function() or []
            level = logging.WARNING
        except OnevipError as error:
            said, level = [str(error)], logging.ERROR
        except Exception as error:
            said, level = [f"{type(error).__name__}: {error}"], logging.ERROR
            if said != self._said:
                log.exception("%s failed", self._function)
        for line in said:
            if line not in self._said:
                log.log(level, "%s", line)
        self._said = said
