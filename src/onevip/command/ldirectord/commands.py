"""ldirectord's commands, after the file was read (spec ldirectord §1). Each returns its status."""

# ruff: noqa: PLC0415 - monitors ask for the status all the time: it needs no event loop.

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from onevip.command.ldirectord.running import Daemon
from onevip.command.ldirectord.session import Session
from onevip.model import HostError

NOT_RUNNING, STALE, STOPPED = 1, 1, 3


def start(session: Session) -> int:
    """One that is about to end does not count: it is waited for."""
    if session.place.running_on():
        return session.end(0)
    return _begin(session)


def stop(session: Session) -> int:
    """Does not wait for the end."""
    if daemon := session.place.running():
        _terminate(session, daemon)
    return session.end(0)


def restart(session: Session) -> int:
    if daemon := session.place.running():
        _terminate(session, daemon)
        session.place.wait_for_end()
    return _begin(session)


def try_restart(session: Session) -> int:
    return restart(session) if session.place.running() else session.end(0)


def reload(session: Session) -> int:
    daemon = session.place.running()
    if daemon is None:
        session.say(f"ldirectord is stopped for {session.place.file}")
        return session.end(NOT_RUNNING)
    _signal(daemon, signal.SIGHUP)
    return session.end(0)


def status(session: Session) -> int:
    place, stdout, stderr = session.place, session.environment.stdout, session.environment.stderr
    if daemon := place.running():
        words = f"ldirectord for {place.file} is running with pid: {daemon.pid}"
        print(words, file=stderr)
        for instance in session.configuration.children:
            if failed := session.ask_instance(instance.strip("\"'")):
                session.say(f"system(ldirectord {instance} status) failed: exit status {failed}")
        session.say(words)
        session.say(f"Exiting from ldirectord {session.arguments.command}")
        return session.end(0)
    if is_stale := bool(place.noted()):
        words = f"ldirectord stale pid file {place.pid_file} for {place.file}"
        print(words, file=stderr)
        session.say(words)
    print(f"ldirectord is stopped for {place.file}", file=stdout)
    return session.end(STALE if is_stale else STOPPED)


COMMANDS: Mapping[str, Callable[[Session], int]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "try-restart": try_restart,
    "reload": reload,
    "force-reload": reload,
    "status": status,
}


def _begin(session: Session) -> int:
    from onevip.command.ldirectord import starting

    return starting.start(session)


def _terminate(session: Session, daemon: Daemon) -> None:
    """A second TERM would end it at once and leave its services in the table."""
    if not daemon.is_ending:
        _signal(daemon, signal.SIGTERM)
        session.place.wait_for_notice(daemon)


def _signal(daemon: Daemon, number: signal.Signals) -> None:
    try:
        daemon.signal(number)
    except PermissionError as error:
        raise HostError(
            f"the daemon with pid {daemon.pid} takes no signal from you: run as root"
        ) from error
