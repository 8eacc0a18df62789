"""A recording replayed: the same choices, the same weights and counters after every step.

How connections come about is a Way's: packets.py, or real sockets (tests/netns/sockets.py).
"""

from __future__ import annotations

from typing import Protocol

from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    DeleteRealServer,
    EditRealServer,
    OnevipError,
)
from oracle.chance import Chances
from oracle.recording import Opening, Recording, Row, Step

FURTHER = 2500  # connections, after a recording whose choices are drawn

Rows = dict[str, list[int]]  # by address: weight, ActiveConn, InActConn


class Difference(Exception):
    """What was not as in the kernel, in words."""


class Way(Protocol):
    """How a replay reaches a director. Addresses are those of real servers."""

    def apply(self, change: Change) -> None:
        """Raises OnevipError when it is refused."""

    def rows(self, wanted: Rows) -> Rows:
        """Of every real server of the service: as wanted, or as they stay."""

    def connect(self, opening: Opening) -> str | None:
        """SYN, SYN-ACK, ACK; who was chosen, None: refused. Raises Difference for all else."""

    def disconnect(self, opening: Opening, address: str) -> None:
        """The client's FIN, the server's, the last ACK."""


def replayed(way: Way, recording: Recording, *, further: int = FURTHER) -> str:
    """Words on what was found equal. Raises Difference at the first step that is not."""
    replay = Replay(way, recording)
    try:
        replay.begin()
    except OnevipError as error:
        raise Difference(f"before the first step: {error}") from None
    for number, step in enumerate(recording.steps):
        try:
            replay.step(step)
        except (Difference, OnevipError) as error:
            raise Difference(f"at step {number}: {step}: {error}") from None
    return f"{len(recording.steps)} steps{replay.further(further)}"


class Replay:
    """One recording, and the connections that are open. Steps raise Difference."""

    def __init__(self, way: Way, recording: Recording) -> None:
        self.recording = recording
        self._way = way
        self._addresses = [str(key.address) for key in recording.reals]
        self._opened: dict[int, tuple[Opening, int | None]] = {}
        self._chances = Chances(len(recording.reals)) if recording.is_random else None

    def begin(self) -> None:
        """The service as it was before the first step."""
        recording = self.recording
        self._way.apply(AddService(recording.service, recording.scheduler, recording.options))
        for step in recording.first:
            self._edit(step)

    def step(self, step: Step) -> None:
        if step.opening is not None:
            self._open(step, step.opening)
        elif step.op == "close":
            self._close(step)
        else:
            self._edit(step)
        self._compare_rows(step.after if self._chances is None else self._chances.rows())

    # What a step does.

    def _open(self, step: Step, opening: Opening) -> None:
        got = self._connect(opening)
        self._opened[step.connection] = opening, got
        if self._chances is not None:
            if wrong := self._chances.chose(got):
                raise Difference(f"chose {_named(got)}: {wrong}")
        elif got != step.got:
            raise Difference(f"chose {_named(got)}, kernel {_named(step.got)}")

    def _connect(self, opening: Opening) -> int | None:
        real = self._way.connect(opening)
        if real is not None and real not in self._addresses:
            raise Difference(f"it went to {real}")
        return None if real is None else self._addresses.index(real)

    def _close(self, step: Step) -> None:
        """Nothing is sent when its real server is gone, for then everything is dropped."""
        opening, got = self._opened[step.connection]
        if got is None:
            return
        chances = self._chances
        is_over = step.is_abandoned if chances is None else not chances.closed(got)
        if not is_over:
            self._way.disconnect(opening, self._addresses[got])

    def _edit(self, step: Step) -> None:
        service, real = self.recording.service, self.recording.real(step)
        changes: dict[str, Change] = {
            "add": AddRealServer(service, real),
            "weight": EditRealServer(service, real),
            "del": DeleteRealServer(service, real.key),
        }
        self._way.apply(changes[step.op])
        if self._chances is not None:
            self._chances.edited(step)

    # What is compared.

    def _compare_rows(self, kernels: list[Row]) -> None:
        pairs = zip(self._addresses, kernels, strict=True)
        wanted = {address: row for address, row in pairs if row is not None}
        rows = self._way.rows(wanted)
        for number, address in enumerate(self._addresses):
            one, other = rows.get(address), wanted.get(address)
            if one != other:
                raise Difference(
                    f"real server {number} has weight, active, inactive "
                    f"{one or 'no row'}, kernel {other or 'no row'}"
                )

    def further(self, number: int) -> str:
        """More connections where choices are drawn, and what they say of the shares."""
        if self._chances is None:
            return ""
        vip = str(self.recording.service.address)
        for nr in range(number):
            opening = Opening(f"10.0.{120 + nr // 250}.{1 + nr % 250}", 1024, vip)
            got = self._connect(opening)
            if wrong := self._chances.chose(got):
                raise Difference(f"further connection {nr} chose {_named(got)}: {wrong}")
        self._compare_rows(self._chances.rows())
        verdicts = self._chances.tests()
        for verdict in verdicts:
            if verdict.is_alarm:
                raise Difference(f"after {number} further connections: {verdict}")
        return f" and {number} further connections, {', '.join(map(str, verdicts))}"


def _named(got: int | None) -> str:
    return "none" if got is None else str(got)
