"""Tells when an interface of this network namespace appears, goes or changes. Reads no details."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

RTMGRP_LINK = 1  # linux/rtnetlink.h
DEBOUNCE_S = 0.1


class Links:
    """Calls `changed` once after each burst of messages about links."""

    def __init__(self, changed: Callable[[], None], debounce_s: float = DEBOUNCE_S) -> None:
        self._changed = changed
        self._debounce_s = debounce_s
        self._pending: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen. Needs the running loop."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._socket.bind((0, RTMGRP_LINK))
        except OSError as error:
            log.warning("new interfaces will not be noticed: netlink: %s", error.strerror)
            self.stop()
            return
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def stop(self) -> None:
        if self._pending:
            self._pending.cancel()
            self._pending = None
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            pass  # read empty
        except OSError:
            log.debug("netlink messages were lost; that something changed is all we need")
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(self._debounce_s, self._settled)

    def _settled(self) -> None:
        self._pending = None
        self._changed()
