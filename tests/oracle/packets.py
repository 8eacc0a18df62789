"""A replay's way through BPF_PROG_TEST_RUN: one packet after the other, nothing waits."""

from __future__ import annotations

from ipaddress import IPv4Address

from onevip.model import AddService, Change
from oracle.recording import MARKED, PORT, Opening
from oracle.replay import Difference, Rows
from packet import frames
from packet.network import BACK
from packet.road import Outcome, Road
from packet.wire import Director, mac_of


class Packets:
    """A director whose table is empty, by its door; see packet/wire.py."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._road = Road(director.plane, director.door)

    def apply(self, change: Change) -> None:
        if isinstance(change, AddService):
            self._director.service = change.service
        self._director.apply(change)

    def rows(self, wanted: Rows) -> Rows:
        return self._director.rows()

    def connect(self, opening: Opening) -> str | None:
        first = self._by_client(opening, "S")
        if first.is_refusal:
            return None
        if first.verdict != "forwarded":
            raise Difference(f"the SYN was {first.verdict}")
        seen = first.seen
        self._by_server(opening, seen.destination, "SA", seen.destination_port)
        self._by_client(opening, "A")
        return seen.destination

    def disconnect(self, opening: Opening, address: str) -> None:
        first = self._by_client(opening, "FA")
        if first.verdict != "forwarded" or first.seen.destination != address:
            raise Difference(f"the FIN was {first.verdict}")
        self._by_server(opening, address, "FA", first.seen.destination_port)
        self._by_client(opening, "A")

    def _by_client(self, opening: Opening, flags: str) -> Outcome:
        mark = self._director.service.mark if IPv4Address(opening.vip) in MARKED else 0
        return self._road(frames.tcp(opening.client, opening.port, opening.vip, PORT, flags), mark)

    def _by_server(self, opening: Opening, address: str, flags: str, port: int) -> None:
        """Raises Difference unless its packet comes from the VIP afterwards."""
        by = mac_of(address)
        out = self._road(
            frames.tcp(address, port, opening.client, opening.port, flags, to=BACK, by=by)
        )
        if out.verdict != "forwarded" or out.seen[:2] != (opening.vip, PORT):
            came = f" and came from {out.seen.source}" if out.frame else ""
            raise Difference(f"the reply of {address} was {out.verdict}{came}")
