"""A director on a stage: edited and shown in ipvsadm's own words, in a time that a test moves.

    stage("-A -t VIP:80 -s rr -p 50", "-a -t VIP:80 -r RS1:80 -m")
    assert stage.got("S") == "RS1"
    assert stage.listed() == ["TCP 01:00 SYN_RECV CLIENT:40000 VIP:80 RS1:80"]

The commands are the real ones, the engine and the programs too; only their clock is not (frozen/).
Machines are called by name, in what is said and in what is shown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from onevip.command import ipvsadm, sysctl
from onevip.command.environment import Environment
from onevip.model import Counters, RealServerKey, ServiceKey
from onevip.model.service import Protocol
from packet import frames
from packet.frozen.director import FrozenDirector
from packet.network import BACK
from packet.road import Outcome, Road
from packet.wire import mac_of

#: NEIGHBOUR is of CLIENT's /24, STRANGER is not.
MACHINES = {
    "CLIENT": "10.0.64.7", "NEIGHBOUR": "10.0.64.8", "STRANGER": "10.0.65.7",
    "VIP": "10.0.0.100", "VIP2": "10.0.0.101",
    "RS1": "10.1.0.10", "RS2": "10.1.0.11", "RS3": "10.1.0.12",
}  # fmt: skip
NAMES = {address: name for name, address in MACHINES.items()}
TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
Says = str | tuple[int, ...]


class Stage:
    """`frozen`, empty, by one door. Clients and real servers speak in a word: flags or chunks."""

    def __init__(self, frozen: FrozenDirector, road: Road) -> None:
        frozen.forget()
        self._frozen = frozen
        self._road = road

    # The administrator.

    def __call__(self, *lines: str) -> str:
        """`onevip ipvsadm LINE`, each; what they print. AssertionError when one is refused."""
        out = io.StringIO()
        errors = io.StringIO()
        for line in lines:
            status = ipvsadm.main(_words(line), Environment(stdout=out, stderr=errors))
            assert status == 0, f"ipvsadm {line}: {errors.getvalue()}"
        return _named(out.getvalue())

    def refusal(self, line: str) -> str:
        """What ipvsadm says to a command that it refuses."""
        errors = io.StringIO()
        assert ipvsadm.main(_words(line), Environment(stderr=errors)) != 0, f"{line}: taken"
        return _named(errors.getvalue()).strip()

    def sysctl(self, *settings: str) -> None:
        """`onevip sysctl -w`, of all at once."""
        sysctl.main(["-w", *settings], Environment(stdout=io.StringIO()))

    def listed(self) -> list[str]:
        """`ipvsadm -Lcn` without its heading, sorted; templates too."""
        return sorted(" ".join(line.split()) for line in self("-Lcn").splitlines()[2:])

    def connections(self) -> list[str]:
        return [line for line in self.listed() if not _is_template(line)]

    def templates(self) -> list[str]:
        return [line for line in self.listed() if _is_template(line)]

    def table(self) -> dict[str, tuple[int, int, int]]:
        """`ipvsadm -Ln`: weight, ActiveConn and InActConn by the real server, `RS1:80`."""
        found = {}
        for line in self("-Ln").splitlines():
            match line.split():
                case ["->", real, _, weight, active, inactive] if weight.isdigit():
                    found[real] = (int(weight), int(active), int(inactive))
        return found

    def counts(self, real: str = "RS1:80") -> tuple[int, int]:
        """ActiveConn and InActConn."""
        return self.table()[real][1:]

    def totals(self, real: str = "RS1:80") -> tuple[int, int, int, int, int]:
        """Conns, InPkts, OutPkts, InBytes, OutBytes of `ipvsadm -Ln --stats --exact`."""
        for line in self("-Ln --stats --exact").splitlines():
            if real in line.split():
                conns, inward, out, in_bytes, out_bytes = map(int, line.split()[2:])
                return conns, inward, out, in_bytes, out_bytes
        raise AssertionError(f"{real} is not in the table")

    def persistent(self, real: str = "RS1:80") -> int:
        """PersistConn of `ipvsadm -Ln --persistent-conn`."""
        for line in self("-Ln --persistent-conn").splitlines():
            if real in line.split():
                return int(line.split()[3])
        raise AssertionError(f"{real} is not in the table")

    # Time.

    def wait(self, seconds: float) -> None:
        """The sweeper comes by every second."""
        while seconds > 0:
            step = min(1.0, seconds)
            self._frozen.advance(step)
            self._frozen.sweep()
            seconds -= step

    # Packets.

    def take(self, frame: bytes) -> Outcome:
        """A frame that a test made itself."""
        return self._road(frame)

    def client(
        self, says: Says = "", port: int = 40000, by: str = "CLIENT", *, to: int = 80,
        vip: str = "VIP", over: Protocol = TCP, mark: int = 0,
    ) -> Outcome:  # fmt: skip
        """A packet to the VIP."""
        ends = (MACHINES[by], port, MACHINES[vip], to)
        return self._road(_frame(ends, says, over, frames.FRONT), mark)

    def server(
        self, says: Says = "", port: int = 40000, by: str = "RS1", *, of: int = 80,
        to: str = "CLIENT", over: Protocol = TCP,
    ) -> Outcome:  # fmt: skip
        """A real server's reply, which the director sees by masq only."""
        ends = (MACHINES[by], of, MACHINES[to], port)
        return self._road(_frame(ends, says, over, BACK))

    def got(self, *packet: Says | int | str, **more: object) -> str | None:
        """The real server that a client's packet was counted for and sent to, by name."""
        before = self._received()
        outcome = self.client(*packet, **more)  # type: ignore[arg-type]
        after = self._received()
        met = [key for key, packets in after.items() if packets != before.get(key, 0)]
        if outcome.verdict != "forwarded" or outcome.is_refusal:
            assert not met, f"{outcome.verdict}, but counted for {met}"
            return None
        ((_, real),) = met
        assert real is not None
        if outcome.seen.destination not in MACHINES_CALLED:
            assert outcome.seen.destination == str(real.address)
        return NAMES[str(real.address)]

    def establish(self, port: int = 40000, by: str = "CLIENT", **more: object) -> str:
        """A client's SYN and ACK; whose the connection is."""
        real = self.got("S", port, by, **more)
        assert real is not None, f"{by}:{port}: nobody took its SYN"
        self.client("A", port, by, **more)  # type: ignore[arg-type]
        return real

    def _received(self) -> dict[tuple[ServiceKey, RealServerKey | None], int]:
        counters: dict[tuple[ServiceKey, RealServerKey | None], Counters] = (
            self._frozen.engine.snapshot().counters
        )
        return {key: one.in_packets for key, one in counters.items() if key[1] is not None}


MACHINES_CALLED = frozenset((MACHINES["VIP"], MACHINES["VIP2"]))
OpenStage = Callable[[str], Stage]


def _words(line: str) -> list[str]:
    return re.sub(r"\b[A-Z]+\d?\b", lambda found: MACHINES.get(found[0], found[0]), line).split()


def _named(text: str) -> str:
    return re.sub(r"\b[\d.]+\b", lambda found: NAMES.get(found[0], found[0]), text)


def _is_template(line: str) -> bool:
    return line.split()[3].endswith(":0")


def _frame(ends: tuple[str, int, str, int], says: Says, over: Protocol, to: str) -> bytes:
    by = mac_of(ends[0])
    if isinstance(says, tuple):
        return frames.sctp(*ends, says, to=to, by=by)
    if over is UDP:
        return frames.udp(*ends, to=to, by=by)
    return frames.tcp(*ends, says, to=to, by=by)
