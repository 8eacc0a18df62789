"""Walks argv as libpopt does, on which the original ipvsadm stands. Knows no option by itself.

Kept of popt: options and other words may be mixed, `-Ln` is two options, `-p60`, `-p 60`, `-p=60`
and `--persistent=60` are one, a required value may begin with a dash, an optional one may not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Takes(enum.Enum):
    """Whether a value follows an option."""

    NOTHING = 0
    VALUE = 1
    VALUE_OR_NOTHING = 2


class PoptError(Exception):
    """argv cannot be read on; the text is popt's."""


class Found(NamedTuple):
    """One option of argv: its long name, its value, and the word that popt blames for it."""

    option: str
    value: str | None
    word: str


class Walk(Iterator[Found]):
    """Iterates over the options of `argv`; `leftovers` are the words that belong to none.

    `find` returns (long name, what it takes) for a long name or a single letter, or None.
    Raises PoptError for an unknown option or a missing value.
    """

    def __init__(self, argv: list[str], find: Callable[[str], tuple[str, Takes] | None]) -> None:
        self.leftovers: list[str] = []
        self._argv = argv
        self._find = find
        self._next = 0
        self._letters = ""  # what is left of a group such as `-Ln`

    def __next__(self) -> Found:
        if not self._letters:
            word = self._next_option_word()
            known = None
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                known = self._find(name) if len(name) > 1 else None
                if known is None:
                    raise self._error("unknown option")
                return self._found(*known, value if equals else None)
            self._letters = word[1:]
        letter, rest = self._letters[0], self._letters[1:]
        self._letters = rest.removeprefix("=")
        known = self._find(letter)
        if known is None:
            raise self._error("unknown option")
        option, takes = known
        if takes is Takes.NOTHING or not self._letters:
            return self._found(option, takes, rest if rest.startswith("=") else None)
        value, self._letters = self._letters.removeprefix("="), ""
        return self._found(option, takes, value)

    def _next_option_word(self) -> str:
        while self._next < len(self._argv):
            word = self._argv[self._next]
            self._next += 1
            if word == "--":
                self.leftovers += self._argv[self._next :]
                self._next = len(self._argv)
            elif word.startswith("-") and word != "-":
                return word
            else:
                self.leftovers.append(word)
        raise StopIteration

    def _found(self, option: str, takes: Takes, value: str | None) -> Found:
        if takes is Takes.NOTHING and value is not None:
            raise self._error("option does not take an argument")
        if takes is not Takes.NOTHING and value is None:
            value = self._following_word(takes)
        return Found(option, value, self._argv[self._next - 1])

    def _following_word(self, takes: Takes) -> str | None:
        is_last = self._next == len(self._argv)
        if takes is Takes.VALUE_OR_NOTHING and (is_last or self._argv[self._next].startswith("-")):
            return None
        if is_last:
            raise self._error("missing argument")
        self._next += 1
        return self._argv[self._next - 1]

    def _error(self, text: str) -> PoptError:
        return PoptError(f"{self._argv[self._next - 1]}: {text}")
