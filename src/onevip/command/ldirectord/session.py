"""One command line on its way: what it asks for, where it speaks, how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from onevip.command.environment import Environment
from onevip.command.ldirectord.arguments import Arguments
from onevip.command.ldirectord.running import Place
from onevip.config import DEFAULT_LOG_FILE
from onevip.daemon import log_destinations
from onevip.daemon.log import Destination
from onevip.model import Configuration


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says something into the log at once: no daemon's thread is there to do it."""

    destination: Destination
    environment: Environment

    def __call__(self, words: str) -> None:
        record = logging.makeLogRecord({"msg": words, "levelno": logging.INFO})
        try:
            self.destination.write(self.destination.lines(record))
        except OSError:
            print(words, file=self.environment.stderr)  # as ldirectord does without a log


def destination(configuration: Configuration, name: str, environment: Environment) -> Destination:
    """Where the log of this configuration's daemon goes."""
    if configuration.log_file == DEFAULT_LOG_FILE:
        configuration = replace(configuration, log_file=environment.log_file)
    return log_destinations.of_configuration(configuration, name, environment.stdout)


@dataclass(frozen=True, slots=True)
class Session:
    arguments: Arguments
    configuration: Configuration
    place: Place
    environment: Environment
    say: Speaker
    ask_instance: Callable[[str], int]  # status of another configuration's daemon

    @property
    def in_foreground(self) -> bool:
        return self.arguments.debug or self.configuration.supervised

    def end(self, status: int) -> int:
        """The exit status; the log hears of it unless all is well."""
        if status or self.arguments.debug:
            words = f"Exiting from ldirectord {self.arguments.command}"
            self.say(f"Exiting with exit_status {status}: {words}")
        return status
