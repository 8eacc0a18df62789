"""A recording replayed packet by packet: the same choices, the same weights and counters.

Needs a director (packet/wire.py) with an empty table; nothing of it is left to the next one but
by `Director.forget`.
"""

from __future__ import annotations

from onevip.model import AddRealServer, AddService, DeleteRealServer, EditRealServer, OnevipError
from oracle.chance import Chances
from oracle.recording import PORT, Opening, Recording, Row, Step
from packet import frames
from packet.network import BACK
from packet.road import Outcome, Road
from packet.wire import Director, mac_of

FURTHER = 2500  # connections, after a recording whose choices are drawn


class Difference(Exception):
    """What was not as in the kernel, in words."""


def replayed(director: Director, recording: Recording) -> str:
    """Words on what was found equal. Raises Difference at the first step that is not."""
    replay = Replay(director, recording)
    try:
        replay.begin()
    except OnevipError as error:
        raise Difference(f"before the first step: {error}") from None
    for number, step in enumerate(recording.steps):
        try:
            replay.step(step)
        except (Difference, OnevipError) as error:
            raise Difference(f"at step {number}: {step}: {error}") from None
    return f"{len(recording.steps)} steps{replay.further()}"


class Replay:
    """One recording, and the connections that are open. Steps raise Difference."""

    def __init__(self, director: Director, recording: Recording) -> None:
        self.recording = recording
        self._director = director
        self._road = Road(director.plane, director.door)
        self._addresses = [str(key.address) for key in recording.reals]
        self._opened: dict[int, tuple[Opening, int | None]] = {}
        self._chances = Chances(len(recording.reals)) if recording.is_random else None

    def begin(self) -> None:
        """The service as it was before the first step."""
        recording = self.recording
        self._director.service = recording.service
        self._director.apply(AddService(recording.service, recording.scheduler, recording.options))
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
        """SYN, SYN-ACK, ACK; which real server it got, None: refused."""
        first = self._by_client(opening, "S")
        if first.is_refusal:
            return None
        if first.verdict != "forwarded":
            raise Difference(f"the SYN was {first.verdict}")
        real = first.seen.destination
        if real not in self._addresses:
            raise Difference(f"the SYN went to {real}")
        got = self._addresses.index(real)
        self._by_server(opening, got, "SA")
        self._by_client(opening, "A")
        return got

    def _close(self, step: Step) -> None:
        """FIN, FIN, ACK; nothing when its real server is gone, for then everything is dropped."""
        opening, got = self._opened[step.connection]
        if self._chances is not None:
            if got is None or not self._chances.closed(got):
                return
        elif step.is_abandoned or got is None:
            return
        self._by_client(opening, "FA")
        self._by_server(opening, got, "FA")
        self._by_client(opening, "A")

    def _edit(self, step: Step) -> None:
        service, real = self.recording.service, self.recording.real(step)
        changes = {
            "add": AddRealServer(service, real),
            "weight": EditRealServer(service, real),
            "del": DeleteRealServer(service, real.key),
        }
        self._director.apply(changes[step.op])
        if self._chances is not None:
            self._chances.edited(step)

    # Packets.

    def _by_client(self, opening: Opening, flags: str) -> Outcome:
        frame = frames.tcp(opening.client, opening.port, opening.vip, PORT, flags)
        return self._road(frame, self.recording.mark_of(opening))

    def _by_server(self, opening: Opening, got: int, flags: str) -> None:
        """Raises Difference unless its packet comes from the VIP afterwards."""
        real = self.recording.reals[got]
        by, address = mac_of(str(real.address)), str(real.address)
        frame = frames.tcp(address, real.port, opening.client, opening.port, flags, to=BACK, by=by)
        out = self._road(frame)
        if out.verdict != "forwarded" or out.seen[:2] != (opening.vip, PORT):
            came = f"came from {out.seen[0]}" if out.frame else ""
            raise Difference(f"the reply of {address} was {out.verdict} {came}".rstrip())

    # What is compared.

    def _compare_rows(self, kernels: list[Row]) -> None:
        rows = self._director.rows()
        ours = [rows.get(address) for address in self._addresses]
        for number, (one, other) in enumerate(zip(ours, kernels, strict=True)):
            if one != other:
                raise Difference(
                    f"real server {number} has weight, active, inactive "
                    f"{one or 'no row'}, kernel {other or 'no row'}"
                )

    def further(self) -> str:
        """More connections where choices are drawn, and what they say of the shares."""
        if self._chances is None:
            return ""
        vip = self.recording.steps[0].opening
        assert vip is not None
        for number in range(FURTHER):
            opening = Opening(f"10.0.{120 + number // 250}.{1 + number % 250}", 1024, vip.vip)
            got = self._connect(opening)
            if wrong := self._chances.chose(got):
                raise Difference(f"further connection {number} chose {_named(got)}: {wrong}")
        self._compare_rows(self._chances.rows())
        verdicts = self._chances.tests()
        for verdict in verdicts:
            if verdict.is_alarm:
                raise Difference(f"after {FURTHER} further connections: {verdict}")
        return f" and {FURTHER} further connections, {', '.join(map(str, verdicts))}"


def _named(got: int | None) -> str:
    return "none" if got is None else str(got)
