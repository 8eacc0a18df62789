"""Sends bytes over TCP, or swallows them and answers with their SHA-256; runs in a namespace."""

from __future__ import annotations

import hashlib
import os
import socket
import sys

TIMEOUT_S = 20


def sink(port: int) -> None:
    """Answer every connection with the digest of all that it sent."""
    with socket.create_server(("", port)) as server:
        print("ready", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        while True:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(TIMEOUT_S)
                digest = hashlib.sha256()
                while data := connection.recv(1 << 20):
                    digest.update(data)
                connection.sendall(digest.digest())


def send(host: str, port: int, size: int) -> None:
    """Send random bytes; exits with a sentence unless the digest comes back right."""
    data = os.urandom(size)
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(64)
    if answer != hashlib.sha256(data).digest():
        sys.exit(f"the real server got something else than the {size} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sink", port]:
            sink(int(port))
        case ["send", host, port, size]:
            send(host, int(port), int(size))
        case _:
            sys.exit("usage: transfer.py sink PORT | send HOST PORT SIZE")
