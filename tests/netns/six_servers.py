"""A client, a director and six real servers that say who they are, in namespaces; sockets of all
of them in this one process, for a socket stays in the namespace in which it was made.

client 10.0.0.1, clients 10.0.64.0/18 - director 10.0.0.2, VIPs | 10.1.0.1 - switch - 10.1.0.10 …
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from netns.clusters import PATIENCE
from onevip.lab.cluster import QUIET, uninterrupted
from onevip.lab.namespace import NAMESPACES, Namespace
from oracle.recording import PORT, Opening
from oracle.replay import Difference

CLONE_NEWNET = 0x40000000
REALS = tuple(f"10.1.0.{10 + number}" for number in range(6))
VIP, MARKED, MARK = "10.0.0.100", "10.0.128.0/24", 7
WITHIN_S = 3 * PATIENCE
#: As an administrator of IPVS sets it up: `fwmark` services need the mark, and a local route.
RULES = f"""\
table ip onevip-test {{
  chain prerouting {{
    type filter hook prerouting priority mangle;
    ip daddr {MARKED} meta mark set {MARK}
  }}
}}
"""


@contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """This thread in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(NAMESPACES / namespace.name, os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace.name}")
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(there)


class SixServers:
    """Built by `with`, gone afterwards."""

    def __init__(self, prefix: str) -> None:
        self.client, self.director, self._switch = (
            Namespace(prefix + name) for name in ("client", "director", "switch")
        )
        self._servers = {
            address: Namespace(f"{prefix}rs{number}") for number, address in enumerate(REALS)
        }
        self._sockets = ExitStack()
        self._listening = selectors.DefaultSelector()
        self._ends: dict[Opening, tuple[socket.socket, socket.socket]] = {}

    def __enter__(self) -> Self:
        try:
            self._wire()
            for address, namespace in self._servers.items():
                self._listen(address, namespace)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        self.reset()
        self._listening.close()
        self._sockets.close()
        with uninterrupted():
            for namespace in (self.client, self.director, self._switch, *self._servers.values()):
                namespace.remove()

    def _wire(self) -> None:
        for namespace in (self.client, self.director, self._switch, *self._servers.values()):
            namespace.create()
            namespace.sysctl(QUIET)
        director = self.director
        self.client.ip(
            "link set lo up",
            f"link add eth0 type veth peer name front netns {director.name}",
            "link set eth0 up",
            "address add 10.0.0.1/24 dev eth0",
            "route add default via 10.0.0.2",
            "route add local 10.0.64.0/18 dev lo",
        )
        self._switch.ip(
            "link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"
        )
        ports = {"back": (director, "10.1.0.1")} | {
            namespace.name[-3:]: (namespace, address)
            for address, namespace in self._servers.items()
        }
        for port, (namespace, address) in ports.items():
            name = "back" if namespace is director else "eth0"
            self._switch.ip(
                f"link add {port} type veth peer name {name} netns {namespace.name}",
                f"link set {port} master br0 up",
            )
            namespace.ip("link set lo up", f"link set {name} up")
            namespace.ip(f"address add {address}/16 dev {name}")
        for namespace in self._servers.values():
            namespace.ip("route add default via 10.1.0.1")
        director.sysctl({"ipv4/ip_forward": 1})
        director.ip(
            "link set front up",
            "address add 10.0.0.2/24 dev front",
            f"address add {VIP}/32 dev front",
            "route add default via 10.0.0.1",
            f"rule add fwmark {MARK} lookup 100",
            "route add local default dev lo table 100",
        )
        self.client.ip(f"route add {MARKED} via 10.0.0.2")

    def mark(self) -> None:
        """nftables writes the mark on every packet to `MARKED`."""
        self.director.run("nft", "-f", "-", given=RULES)

    def _listen(self, address: str, namespace: Namespace) -> None:
        with inside(namespace):
            listening = self._sockets.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, PORT))
        listening.listen(64)
        listening.setblocking(False)
        self._listening.register(listening, selectors.EVENT_READ, address)

    # Connections.

    def connect(self, opening: Opening) -> str | None:
        """What the server that answered says it is; None: refused."""
        with inside(self.client):
            client = socket.socket()
        client.settimeout(WITHIN_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((opening.client, opening.port))
        try:
            client.connect((opening.vip, PORT))
        except ConnectionRefusedError:
            client.close()
            return None
        except TimeoutError:
            client.close()
            raise Difference("the SYN was not answered") from None
        self._ends[opening] = client, self._accept()
        return client.recv(100).decode()

    def _accept(self) -> socket.socket:
        for key, _ in self._listening.select(WITHIN_S):
            listening = key.fileobj
            assert isinstance(listening, socket.socket)
            server, _ = listening.accept()
            server.settimeout(WITHIN_S)
            server.sendall(key.data.encode())
            return server
        raise Difference("no server accepted the connection")

    def disconnect(self, opening: Opening) -> None:
        """The client first."""
        client, server = self._ends.pop(opening)
        client.shutdown(socket.SHUT_WR)
        if server.recv(1):
            raise Difference("the server was sent something")
        server.close()
        if client.recv(1):
            raise Difference("the client was sent something")
        client.close()

    def reset(self) -> None:
        """Ends all that is open without a word to anybody but RST."""
        for ends in self._ends.values():
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
        self._ends.clear()

    def wait_for_neighbours(self) -> None:
        """Every real server was spoken to once, so that no first packet waits for ARP."""
        deadline = time.monotonic() + WITHIN_S
        for address in REALS:
            with inside(self.director), socket.socket() as probe:
                probe.settimeout(max(0.1, deadline - time.monotonic()))
                probe.connect((address, PORT))
            for key, _ in self._listening.select(WITHIN_S):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.accept()[0].close()
