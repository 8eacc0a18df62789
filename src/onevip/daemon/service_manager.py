"""Tells systemd when the daemon is ready and when it ends: sd_notify(3), units of Type=notify."""

from __future__ import annotations

import logging
import socket

from onevip.daemon.events import Event, Started, Stopping

log = logging.getLogger(__name__)


class ServiceManager:
    """A listener; `address` is $NOTIFY_SOCKET: a path, or @ and an abstract name."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def heard(self, event: Event) -> None:
        match event:
            case Started():
                self._tell("READY=1")
            case Stopping():
                self._tell("STOPPING=1")
            case _:
                pass

    async def close(self) -> None:
        """Nothing is left to tell."""

    def _tell(self, words: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
                one.setblocking(False)
                one.connect(self._address)
                one.send(words.encode())
        except OSError as error:
            log.warning("systemd was not told %s: %s", words, error)
