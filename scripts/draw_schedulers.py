"""Draws docs/schedulers/*.svg: the same ten minutes under each scheduler, played by the reference.

`draw_schedulers.py` writes the pictures; `draw_schedulers.py --check` fails when one is not what
the rules make today. Nothing is left to chance: the dice have fixed seeds.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from onevip.model import (  # noqa: E402
    AddRealServer,
    AddService,
    Change,
    EditRealServer,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
)
from onevip.reference import Director, Packet  # noqa: E402
from onevip.schedulers.by_name import BY_NAME  # noqa: E402
from onevip.schedulers.scheduler import Address  # noqa: E402

FOLDER = ROOT / "docs" / "schedulers"
SERVICE = ServiceKey.of_mark(1)  # it has many destinations, which dh, lblc and lblcr go by
WEIGHTS = {"A": 4, "B": 3, "C": 2, "D": 1, "E": 3}  # E comes later
ADDRESSES = {name: IPv4Address("10.1.0.1") + number for number, name in enumerate(WEIGHTS)}
REFUSED = "refused"
NAMES = {address: name for name, address in ADDRESSES.items()}
SECONDS, BIN, A_SECOND = 600, 15, 2.0
CLIENTS, DESTINATIONS = 200, 40
SLOW, QUIESCED, ADDED = 150, 300, 450
SLOWNESS = 4  # so many times as long lasts a connection to A between SLOW and QUIESCED
#: Whose staying with one server the lower half shows; of other schedulers it shows who is busy.
STICKY = {"sh": "clients", "mh": "clients", "dh": "destinations", "lblc": "destinations",
          "lblcr": "destinations"}  # fmt: skip

WIDTH, LEFT, RIGHT, TOP, UPPER, GAP, LOWER, BOTTOM = 760, 56, 24, 66, 120, 46, 90, 36
HEIGHT = TOP + UPPER + GAP + LOWER + BOTTOM
STYLE = """\
.page { fill: #ffffff; stroke: #d0d7de } .ink { fill: #1f2328 } .soft { fill: #59636e }
.A { fill: #2f6fb0 } .B { fill: #e09f2d } .C { fill: #2f9c76 } .D { fill: #c06aa0 }
.E { fill: #7cc1ea } .refused { fill: #c9ced4 }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
.lineA { stroke: #2f6fb0 } .lineB { stroke: #e09f2d } .lineC { stroke: #2f9c76 }
.lineD { stroke: #c06aa0 } .lineE { stroke: #7cc1ea } .moved { stroke: #d1572b }
.grid { stroke: #e4e8ec } .event { stroke: #59636e; stroke-dasharray: 3 3 }
text { font: 12px system-ui, 'DejaVu Sans', sans-serif; paint-order: stroke; stroke: #ffffff;
 stroke-width: 4 } .end { text-anchor: end }
.title { font-size: 17px; font-weight: 600 }
@media (prefers-color-scheme: dark) {
 .page { fill: #151b23; stroke: #3d444d } text { stroke: #151b23 } .ink { fill: #e6edf3 }
 .soft { fill: #9198a1 }
 .refused { fill: #4a525c } .grid { stroke: #2a313a } .event { stroke: #9198a1 }
}"""


@dataclass(frozen=True)
class Arrival:
    """A connection that somebody wants: its SYN, when, and how long it will last."""

    at: float
    syn: Packet
    lasts: float


@dataclass
class Bin:
    """A quarter of a minute: who was chosen how often, who moved, how busy each was in it."""

    chosen: Counter[str] = field(default_factory=Counter)
    returned: int = 0
    moved: int = 0
    active: Counter[str] = field(default_factory=Counter)  # summed up over arrivals

    def mean_active(self, name: str) -> float:
        return self.active[name] / self.chosen.total()


def arrivals() -> Iterator[Arrival]:
    """The same for every scheduler. The n-th destination is wanted 1/n as often as the first."""
    dice, now, port = Random(7), 0.0, 1024
    popular = [1 / (rank + 1) for rank in range(DESTINATIONS)]
    while (now := now + dice.expovariate(A_SECOND)) < SECONDS:
        port += 1
        client = IPv4Address("198.51.100.0") + dice.randrange(CLIENTS)
        vip = IPv4Address("203.0.113.0") + dice.choices(range(DESTINATIONS), popular)[0]
        syn = Packet(client, port, vip, 80, Protocol.TCP, "S", mark=SERVICE.mark)
        yield Arrival(now, syn, dice.uniform(2, 8))


def edits(scheduler: str) -> dict[int, list[Change]]:
    """What the administrator does, by second. A is the head of the list: it was added last."""
    first = [AddRealServer(SERVICE, real_server(name)) for name in "DCBA"]
    return {
        0: [AddService(SERVICE, scheduler), *first],
        QUIESCED: [EditRealServer(SERVICE, replace(real_server(quiesced(scheduler)), weight=0))],
        ADDED: [AddRealServer(SERVICE, real_server("E"))],
    }


def quiesced(scheduler: str) -> str:
    """Whose weight is set to 0. Of fo it is A's: nobody else has anything to do there."""
    return "A" if scheduler == "fo" else "C"


def real_server(name: str) -> RealServer:
    return RealServer(ADDRESSES[name], 80, ForwardingMethod.MASQ, WEIGHTS[name])


def play(scheduler: str) -> list[Bin]:
    """The ten minutes."""
    director, bins = Director(Random(8).randrange), [Bin() for _ in range(SECONDS // BIN)]
    ends: list[tuple[float, int, Arrival]] = []
    met: dict[Address, str] = {}
    coming = list(arrivals())
    for number, now in enumerate(bins):
        director.apply(edits(scheduler).get(number * BIN, ()), number * BIN)
        while coming and coming[0].at < (number + 1) * BIN:
            arrival = coming.pop(0)
            close(director, ends, arrival.at)
            name = chosen_for(director, arrival)
            now.chosen[name] += 1
            by_client = STICKY.get(scheduler) == "clients"
            who = arrival.syn.source if by_client else arrival.syn.destination
            if who in met and name != REFUSED:
                now.returned += 1
                now.moved += met[who] != name
            if name != REFUSED:
                met[who] = name
                slow = SLOWNESS if name == "A" and SLOW <= arrival.at < QUIESCED else 1
                heapq.heappush(ends, (arrival.at + arrival.lasts * slow, len(coming), arrival))
            for name, active in busy(director):
                now.active[name] += active
        close(director, ends, (number + 1) * BIN)
    return bins


def busy(director: Director) -> Iterator[tuple[str, int]]:
    """ActiveConn of each real server."""
    for (_, key), counters in director.counters().items():
        if key is not None:
            yield NAMES[IPv4Address(key.address)], counters.active


def chosen_for(director: Director, arrival: Arrival) -> str:
    """Opens it by SYN and ACK; the letter of the real server that it got."""
    real = director.receive(arrival.syn, arrival.at).real_server
    director.receive(replace(arrival.syn, flags="A"), arrival.at)
    return NAMES[IPv4Address(real.address)] if real else REFUSED


def close(director: Director, ends: list[tuple[float, int, Arrival]], until: float) -> None:
    """The clients' FINs that were due: from then on these are inactive."""
    while ends and ends[0][0] <= until:
        at, _, arrival = heapq.heappop(ends)
        director.receive(replace(arrival.syn, flags="FA"), at)


def picture(scheduler: str) -> str:
    bins = play(scheduler)
    sticky = STICKY.get(scheduler)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>Ten minutes of {scheduler}</title><style>{STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        text(LEFT, 28, scheduler, "ink title"), *legend(), *events(scheduler),
        text(LEFT, TOP - 8, "share of new connections", "soft"), *shares(bins),
    ]  # fmt: skip
    if sticky:
        label = f"returning {sticky} that met another server"
        moved = [100 * one.moved / max(1, one.returned) for one in bins]
        parts += [text(LEFT, lower(1) - 8, label, "soft"), *scale(100, " %")]
        parts += [line("moved", [(BIN * (n + 0.5), amount) for n, amount in enumerate(moved)], 100)]
    else:
        highest = max(one.mean_active(name) for one in bins for name in WEIGHTS)
        most = math.ceil(highest / 4) * 4
        parts += [text(LEFT, lower(1) - 8, "active connections", "soft"), *scale(most, "")]
        for name in WEIGHTS:
            points = [(BIN * (n + 0.5), one.mean_active(name))
                      for n, one in enumerate(bins) if name in one.active]  # fmt: skip
            parts.append(line(f"line{name}", points, most))
    parts += [text(x(second), HEIGHT - 12, f"{second // 60} min", "soft")
              for second in range(0, SECONDS, 120)]  # fmt: skip
    return "\n".join([*parts, "</svg>", ""])


def x(second: float) -> float:
    return round(LEFT + second * (WIDTH - LEFT - RIGHT) / SECONDS, 1)


def lower(part: float) -> float:
    """The height of a part of the lower half, from 0 at its bottom to 1."""
    return round(TOP + UPPER + GAP + LOWER * (1 - part), 1)


def text(left: float, base: float, words: str, names: str) -> str:
    return f'<text class="{names}" x="{left}" y="{base}">{words}</text>'


def legend() -> Iterator[str]:
    left = 330
    for name in (*WEIGHTS, REFUSED):
        words = f"{name}, weight {WEIGHTS[name]}" if name == "A" else name
        words = f"{name} {WEIGHTS[name]}" if name in "BCDE" else words
        yield f'<rect class="{name}" x="{left}" y="18" width="11" height="11" rx="2"/>'
        yield text(left + 16, 28, words, "ink")
        left += 16 + 7 * len(words) + 16


def events(scheduler: str) -> Iterator[str]:
    well = f"A is well, {quiesced(scheduler)} quiesced"
    for second, words in ((SLOW, "A gets slow"), (QUIESCED, well), (ADDED, "E added")):
        ends = TOP + UPPER + GAP + LOWER
        yield f'<path class="event" d="M{x(second)} {TOP - 4}V{ends}"/>'
        yield text(x(second) + 4, TOP + UPPER + 16, words, "ink")


def shares(bins: Sequence[Bin]) -> Iterator[str]:
    """A column for each quarter of a minute, from A at the bottom up."""
    for number, one in enumerate(bins):
        base, whole = float(TOP + UPPER), one.chosen.total()
        for name in (*WEIGHTS, REFUSED):
            height = round(UPPER * one.chosen[name] / whole, 1)
            if height:
                base = round(base - height, 1)
                size = f'width="{round(x(BIN) - x(0) - 1, 1)}" height="{height}"'
                yield f'<rect class="{name}" x="{x(BIN * number)}" y="{base}" {size}/>'


def scale(most: int, unit: str) -> Iterator[str]:
    """Lines of the grid of the lower half, and what they stand for."""
    for part in (0.0, 0.5, 1.0):
        yield f'<path class="grid" d="M{LEFT} {lower(part)}H{WIDTH - RIGHT}"/>'
        yield text(LEFT - 6, lower(part) + 4, f"{most * part:g}{unit}", "soft end")


def line(names: str, points: Iterable[tuple[float, float]], most: float) -> str:
    places = " ".join(f"{x(second)},{lower(amount / most)}" for second, amount in points)
    return f'<polyline class="{names}" points="{places}"/>'


def main(arguments: list[str]) -> int:
    wanted = {FOLDER / f"{name}.svg": picture(name) for name in BY_NAME if name != "none"}
    stale = [path for path, svg in wanted.items() if not path.exists() or path.read_text() != svg]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.name} is not what the rules make: run {Path(__file__).name}")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
