"""ldirectord's command line, read as its Getopt::Long reads it (spec ldirectord §1). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("start", "stop", "restart", "try-restart", "reload", "force-reload", "status")
DEFAULT_FILE, DEFAULT_NAME = "ldirectord.cf", "ldirectord"

_OPTIONS = {"d": "debug", "h": "help", "?": "help", "v": "version"}
_LONG = frozenset(_OPTIONS.values())


class BadUsage(Exception):
    """A command line that makes no sense; `complaints` go to stderr before the usage."""

    def __init__(self, *complaints: str) -> None:
        super().__init__(*complaints)
        self.complaints = complaints


@dataclass(frozen=True, slots=True)
class Arguments:
    """One command line. `name` stands for the configuration in pid files and log lines."""

    options: frozenset[str]  # of debug, help, version
    words: tuple[str, ...]  # what is no option
    file: str = ""  # as given
    name: str = ""
    command: str = ""

    @property
    def debug(self) -> bool:
        return "debug" in self.options


def read(argv: Sequence[str]) -> Arguments:
    """Raises BadUsage. With --help or --version the rest is not looked at."""
    given = list(argv)
    options: set[str] = set()
    complaints: list[str] = []
    while given and given[0].startswith("-") and given[0] != "-":
        word = given.pop(0)
        if word == "--":
            break
        for option in _options_in(word):
            if option in _LONG:
                options.add(option)
            else:
                complaints.append(option)
    if complaints:
        raise BadUsage(*complaints)
    if options & {"help", "version"}:
        return Arguments(frozenset(options), tuple(given))
    file, name, command = _words(given)
    if command not in COMMANDS:
        raise BadUsage
    return Arguments(frozenset(options), tuple(given), file, name, command)


def _options_in(word: str) -> Iterator[str]:
    """The names of the options in a word, or a complaint in the place of a name."""
    if not word.startswith("--"):
        for letter in word[1:]:
            yield _OPTIONS.get(letter, f"Unknown option: {letter}")
        return
    name, is_valued, _ = word[2:].partition("=")
    if name.lower() not in _LONG:
        yield f"Unknown option: {name.lower()}"
    elif is_valued:
        yield f"Option {name.lower()} does not take an argument"
    else:
        yield name.lower()


def _words(words: list[str]) -> tuple[str, str, str]:
    """File, name, command; what follows is not looked at."""
    match words:
        case []:
            raise BadUsage
        case [command]:
            return DEFAULT_FILE, DEFAULT_NAME, command
        case [file, command, *_]:
            return file, file.rpartition("/")[2], command
    raise AssertionError(words)


def find(file: str, directories: Sequence[str]) -> str | None:
    """The path of a configuration file: in the first of these directories, else as given."""
    candidates = [f"{directory}/{file}" for directory in directories] + [file]
    return next((path for path in candidates if Path(path).is_file()), None)
