"""`ldirectord start`: the daemon, in the background or, by -d or supervised=yes, here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from onevip.command.daemon_start import keep_table
from onevip.command.ldirectord import background
from onevip.command.ldirectord.background import Failed
from onevip.command.ldirectord.debugging import Debugging
from onevip.command.ldirectord.journal import Journal
from onevip.command.ldirectord.pid_file import PidFile
from onevip.command.ldirectord.reading import in_one_line
from onevip.command.ldirectord.ready import Ready
from onevip.command.ldirectord.session import Session, destination
from onevip.command.ldirectord.usage import PRODUCT
from onevip.daemon import log
from onevip.daemon.events import Listener
from onevip.daemon.log import Writer
from onevip.daemon.ownership import AlreadyRunning
from onevip.model import ConfigError, Configuration, OnevipError, words_of

CANNOT_START, BAD_FILE = 1, 2
_REASONS = {CANNOT_START: "Initialisation Error", BAD_FILE: "config_error: Configuration Error"}


def start(session: Session) -> int:
    """In the background: returns when the file is in force. In the foreground: at the end."""
    if session.in_foreground:
        session.say(f"Starting {PRODUCT} with pid: {os.getpid()}")
        ended = _keep(session, session.place.file)
    else:
        session.say(f"Starting {PRODUCT} as daemon")
        file = str(Path(session.place.file).absolute())  # the daemon is in "/", and reads it again
        ended = background.start(partial(_keep_in_background, session, file)) or 0
    return _refused(session, ended) if isinstance(ended, Failed) else ended


def _keep_in_background(session: Session, file: str, say_ready: Callable[[], None]) -> Failed | int:
    try:
        pid_file = PidFile(session.place.pid_file)
    except OSError as error:
        return Failed(CANNOT_START, f"Can not open {session.place.pid_file}: {words_of(error)}")
    with pid_file:
        return _keep(session, file, pid_file, Ready(say_ready))


def _keep(session: Session, file: str, *listeners: Listener) -> Failed | int:
    """The daemon itself, until its end; a start that came second is none."""
    level = logging.DEBUG if session.arguments.debug else logging.INFO
    try:
        with log.through(session.say.destination, level) as writer:
            journal = Journal(partial(_move, session, writer))
            debugging = (Debugging(),) if session.arguments.debug else ()
            told = (*debugging, journal, *listeners)
            return keep_table(file, session.environment, *told)
    except AlreadyRunning:
        return 0
    except ConfigError as error:  # edited since it was read
        return Failed(BAD_FILE, in_one_line(error))
    except OnevipError as error:
        return Failed(CANNOT_START, str(error))


def _move(session: Session, writer: Writer, configuration: Configuration) -> None:
    """The log goes where the new configuration says; debugging stays where it is, and so does
    what was begun with supervised=yes: its stdout is nobody's else."""
    if not session.in_foreground:
        writer.use(destination(configuration, session.arguments.name, session.environment))


def _refused(session: Session, failed: Failed) -> int:
    session.say(failed.words)
    if not session.arguments.debug:  # then the log is on stderr already
        print(failed.words, file=session.environment.stderr)
    session.say(f"Exiting with exit_status {failed.status}: {_REASONS[failed.status]}")
    return failed.status
