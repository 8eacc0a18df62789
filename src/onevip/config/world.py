"""What reading a file asks of the machine: names, its own name, whether files can be written.

Nothing here changes anything; ldirectord creates its log file by looking whether it could.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onevip.config import names
from onevip.config.names import PortOf, Resolve


def why_not_appendable(path: str) -> str:
    """Why this file could not be opened to write at its end, in strerror's words; "": it could."""
    try:
        file = Path(path)
        if file.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
        elif not path:
            raise FileNotFoundError(2, os.strerror(2))
        elif not file.parent.is_dir():
            file.parent.stat()
            raise NotADirectoryError(20, os.strerror(20))
        elif not os.access(file.parent, os.W_OK | os.X_OK):
            return os.strerror(13)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", "") or str(error)
    return ""


def own_name() -> str:
    """The environment's HOSTNAME, as ldirectord, else the machine's."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


class World(NamedTuple):
    """The machine, as the reader of a file sees it; tests hand in another."""

    resolve: Resolve = names.resolve
    port_of: PortOf = names.port_of
    why_not_appendable: Callable[[str], str] = why_not_appendable
    is_directory: Callable[[str], bool] = os.path.isdir
    own_name: Callable[[], str] = own_name


THIS_MACHINE = World()
