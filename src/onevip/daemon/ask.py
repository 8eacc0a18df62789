"""Asks the daemons of a run directory by their control sockets: the other end of control.py."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from onevip.daemon.control import VERSION
from onevip.daemon.socket_files import short_path
from onevip.model import OnevipError, words_of

#: So long a daemon may take: one that is stopped, or reloads, answers late.
PATIENCE_S = 10.0
_CHUNK = 65536


class NoDaemon(OnevipError):
    """Nobody listens at this socket: the daemon has ended, or was killed."""


def ask(path: Path, command: str, patience_s: float = PATIENCE_S) -> Any:
    """What the daemon at this socket answers. Raises NoDaemon, OnevipError."""
    request = json.dumps({"version": VERSION, "command": command}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
            connected.settimeout(patience_s)
            with short_path(path) as address:
                connected.connect(address)
            connected.sendall(request)
            line = _line(connected)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoDaemon(f"{path}: no daemon listens") from None
    except TimeoutError:
        words = f"no answer within {patience_s:g} s: the daemon is stopped, or hangs"
        raise OnevipError(f"{path}: {words}") from None
    except OSError as error:
        raise OnevipError(f"{path}: {words_of(error)}") from error
    return _result(path, command, line)


def _line(connected: socket.socket) -> bytes:
    parts = []
    while chunk := connected.recv(_CHUNK):
        parts.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(parts)


def _result(path: Path, command: str, line: bytes) -> Any:
    try:
        answer = json.loads(line)
        if answer["ok"]:
            return answer[command]
        words = str(answer["error"])
    except (ValueError, KeyError, TypeError):
        words = "the daemon's answer cannot be understood: is it of another version?"
    raise OnevipError(f"{path}: {words}")
