"""The reference and the BPF programs, which live the same life, compared after every step.

Each method is a step: both take it, and what they make of it is compared at once: the verdict with
the real server and port, then the table, every counter, every connection to the second in which it
ends, and which real servers are overloaded. AssertionError tells the first difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from onevip.engines.bpf.rows import Rows
from onevip.model import (
    AddRealServer,
    Change,
    Connection,
    Counters,
    ForwardingMethod,
    Protocol,
    RealServerKey,
    ServiceKey,
    TableError,
    Timeouts,
    diff,
)
from onevip.reference import Decision, Packet, Verdict
from onevip.reference import Director as Reference
from packet import frames
from packet.frozen.director import Chance, FrozenDirector
from packet.network import BACK
from packet.road import Outcome
from packet.wire import mac_of

FIELDS = tuple(Counters.__dataclass_fields__)
NO_RATES: dict[str, Any] = {name: 0 for name in FIELDS if name.endswith("_rate")}
FORGOTTEN_AFTER_S = 120
LEFT = {Verdict.ACCEPT: "left alone", Verdict.DROP: "dropped"}


class Undecided(Exception):
    """In one second a template's time is up and that of its last connection: either may be first,
    and then the template stays or goes. No life goes on from there."""


class Twins:
    """Both of them, new: no services, no connections. `tally` counts what was compared,
    `tell` is told each step."""

    def __init__(
        self,
        frozen: FrozenDirector,
        chance: int,
        tally: Counter[str],
        tell: Callable[[str], object],
    ) -> None:
        frozen.forget()
        frozen.draw_from(chance)
        self._frozen = frozen
        self._reference = Reference(Chance(chance).below)
        self._now = 0.0
        self._revived: set[tuple[ServiceKey, RealServerKey | None]] = set()
        self._deleted_at: dict[tuple[ServiceKey, RealServerKey], float] = {}
        self._tell = tell
        self.tally = tally
        tally["lives"] += 1

    # What is there, by the reference.

    def table(self) -> Any:
        return self._reference.table()

    def connections(self) -> list[Connection]:
        """Without templates, in an order that does not depend on chance."""
        found = [one for one in self._reference.connections() if not one.template]
        return sorted(found, key=lambda one: (one.protocol, int(one.client), one.client_port))

    def has_orphans(self) -> bool:
        """Connections or templates of real servers that are deleted."""
        there = {real.address for service in self.table() for real in service.real_servers}
        return any(one.real not in there for one in self._reference.connections())

    def is_half_forgotten(self, service: ServiceKey, real: RealServerKey) -> bool:
        """A deleted real server without connections: the programs forget it, and its totals, after
        two minutes, the kernel up to one later."""
        left = self._left(service, real)
        if left is None or left.is_named:
            return False
        return self._now - self._deleted_at[service, real] >= FORGOTTEN_AFTER_S

    def _left(self, service: ServiceKey, real: RealServerKey) -> Any:
        return self._reference._services._trash._held.get((service, real))

    # Steps.

    def change(self, change: Change) -> None:
        before = self._names()
        if isinstance(change, AddRealServer) and self._left(change.service, change.real.key):
            self._revived.add((change.service, change.real.key))
        self._tell(f"{self._now:g} s: {change}")
        refusals = [
            _refusal(step)
            for step in (
                lambda: self._reference.apply([change], self._now),
                lambda: self._frozen.engine.apply([change]),
            )
        ]
        assert refusals[0] == refusals[1], f"{change}: {refusals}"
        for _ in range(2):  # what a deletion ends: connections, then templates that are alone
            self._frozen.sweep()
        self._deleted_at |= dict.fromkeys(before - self._names(), self._now)
        self.tally["edits"] += 1
        self._compare()

    def _names(self) -> set[tuple[ServiceKey, RealServerKey]]:
        return {(one.key, real.key) for one in self.table() for real in one.real_servers}

    def set_timeouts(self, timeouts: Timeouts) -> None:
        self._tell(f"{self._now:g} s: {timeouts}")
        self._reference.set_timeouts(timeouts)
        self._reference.advance(self._now)
        self._frozen.engine.set_timeouts(timeouts)
        self._frozen.sweep()
        self.tally["edits"] += 1
        self._compare()

    def set_tunable(self, name: str, value: int) -> None:
        self._tell(f"{self._now:g} s: {name} = {value}")
        self._reference.set_tunable(name, value, self._now)
        self._frozen.engine.set_tunable(name, value)
        self.tally["edits"] += 1
        self._compare()

    def request(self, packet: Packet) -> None:
        """A packet that comes from the clients' side."""
        self._packet(packet, *_ways(packet, from_clients=True))

    def reply(self, packet: Packet) -> None:
        """A packet that comes from the real servers' side."""
        self._packet(packet, *_ways(packet, from_clients=False))

    def _packet(self, packet: Packet, to: str, by: str) -> None:
        frame = _frame(packet, to, by)
        packet = replace(packet, length=len(frame) - frames.ETH_LEN)
        before = self._lengths()
        decision = self._reference.receive(packet, self._now)
        outcome = self._frozen.road(frame, packet.mark)
        self._tell(f"{self._now:g} s: {_words(packet)}: {decision.verdict.value}")
        told, meant = _told(outcome), _meant(decision, packet)
        assert told == meant, f"{_words(packet)}: {told}, not {meant}"
        self.tally["packets"] += 1
        self.tally[f"packets that were {decision.verdict.value}"] += 1
        for name, more in (self._lengths() - before).items():
            self.tally[name] += more
        if decision.verdict is not Verdict.ACCEPT:  # else the next step tells what it has changed
            self._compare()

    def wait(self, seconds: int) -> None:
        """Second by second, as the sweeper goes."""
        self._tell(f"{self._now:g} s: wait {seconds} s")
        before = self._lengths()
        for _ in range(seconds):
            self._now += 1
            self._look_for_ties()
            self._frozen.advance(1)
            self._reference.advance(self._now)
            self._frozen.sweep()
            if self._now % 2 == 0:
                self._frozen.estimate()
        self.tally["seconds"] += seconds
        self.tally["expiries"] += (before - self._lengths()).total()
        self._compare()

    def _look_for_ties(self) -> None:
        connections = self._reference._connections
        for one in connections:
            template = one.template
            if template is not None and template.ends_at == self._now == connections._ends_at(one):
                self.tally["lives that ended undecided"] += 1
                raise Undecided

    def wait_for_estimates(self) -> None:
        """To the next even second."""
        self.wait(2 - int(self._now) % 2)

    def _lengths(self) -> Counter[str]:
        reference = self._reference
        return Counter(
            connections=len(list(reference._connections)), templates=len(list(reference._templates))
        )

    # What is compared.

    def _compare(self) -> None:
        engine = self._frozen.engine
        ours = engine.snapshot()
        assert ours.table == self._reference.table(), diff(ours.table, self._reference.table())
        for service in self._reference.table():
            found = ours.table.get(service.key)
            assert found is not None
            assert found.real_servers == service.real_servers, f"the order in {service}"
        theirs = self._reference.counters()
        for key, counters in theirs.items():
            kept = NO_RATES if key in self._revived else {}  # one begins them anew, the other not
            pair = replace(ours.counters[key], **kept), replace(counters, **kept)
            assert pair[0] == pair[1], f"{key}: {_differences(*pair)}"
        assert ours.counters.keys() == theirs.keys()
        connections = Counter(engine.connections())
        wanted = Counter(self._reference.connections())
        self._compare_overload()
        ours_alone, theirs_alone = connections - wanted, wanted - connections
        assert not ours_alone, f"{_listed(ours_alone)}; not {_listed(theirs_alone)}"
        assert not theirs_alone, f"not {_listed(theirs_alone)}"

    def _compare_overload(self) -> None:
        rows = Rows(self._frozen.plane)
        for key, service in self._reference._services.live.items():
            members = rows.list_of(rows.service_index(key)).members
            counts = self._frozen.plane.real_counts
            ours = [bool(counts.get(one.real, "overloaded")) for one in members]
            theirs = [server.overloaded for server in service.servers]
            assert ours == theirs, f"{key}: overloaded {ours}, not {theirs}"
            self.tally["looks at an overloaded server"] += sum(theirs)


def _refusal(step: Callable[[], None]) -> str | None:
    """The kind of error that it ends with."""
    try:
        step()
    except TableError as error:
        return type(error).__name__
    return None


def _ways(packet: Packet, *, from_clients: bool) -> tuple[str, str]:
    """MACs: of the director's interface, and of the neighbour who sends."""
    if from_clients:
        return frames.FRONT, frames.ROUTER
    return BACK, mac_of(str(packet.source))


def _frame(packet: Packet, to: str, by: str) -> bytes:
    ends = (
        str(packet.source), packet.source_port, str(packet.destination), packet.destination_port,
    )  # fmt: skip
    if packet.protocol is Protocol.TCP:
        return frames.tcp(*ends, packet.flags, to=to, by=by)
    if packet.protocol is Protocol.UDP:
        return frames.udp(*ends, to=to, by=by)
    return frames.sctp(*ends, packet.chunks, to=to, by=by)


Told = tuple[str, str, int, str, int]  # what became of it, from, to


def _told(outcome: Outcome) -> Told:
    if outcome.is_refusal:
        return "refused", "", 0, "", 0
    if outcome.verdict != "forwarded":
        return outcome.verdict, "", 0, "", 0
    return "forwarded", *outcome.seen[:4]


def _meant(decision: Decision, packet: Packet) -> Told:
    """What a door says when it does as the reference decided."""
    if decision.verdict is Verdict.REFUSE:
        return "refused", "", 0, "", 0
    if decision.verdict in LEFT:
        return LEFT[decision.verdict], "", 0, "", 0
    assert decision.real_server is not None
    source, destination = packet.source, packet.destination
    ports = packet.source_port, packet.destination_port
    if decision.verdict is Verdict.REPLY:
        assert decision.connection is not None
        source, ports = decision.connection.vip, (decision.real_port, ports[1])
    elif decision.method is ForwardingMethod.MASQ:
        destination, ports = decision.real_server.address, (ports[0], decision.real_port)
    return "forwarded", str(source), ports[0], str(destination), ports[1]


def _words(packet: Packet) -> str:
    says = packet.flags or ",".join(map(str, packet.chunks)) or "-"
    return (
        f"{packet.protocol.name} {says} {packet.source}:{packet.source_port} > "
        f"{packet.destination}:{packet.destination_port} mark {packet.mark}"
    )


def _listed(connections: Counter[Connection]) -> str:
    return ", ".join(
        f"{one!r} {one.expires_s} s active {one.active} template {one.template}"
        for one in connections
    )


def _differences(ours: Counters, theirs: Counters) -> str:
    pairs = ((name, getattr(ours, name), getattr(theirs, name)) for name in FIELDS)
    return ", ".join(f"{name} {one}, not {other}" for name, one, other in pairs if one != other)
