"""Results as a picture for the README: SVG by hand, legible on light and on dark pages.

One panel for each section, drawn from what bars.py makes of its results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.bars import Bar, Kind, blocks_of
from benchmarks.results import Measured

WIDTH = 900
LABELS = 318  # where labels end and bars begin
SCALE = 508  # pixels from 0 to the highest figure of a panel
MARGIN = 28
ROW, THEIRS, GAP = 21, 12, 9  # a row, what it grows by with a second bar, between blocks
HEADING, AXIS, LEGEND, SOURCE = 58, 30, 30, 44
LETTER, DIGIT = 6.4, 8.0  # mean width of one, of a number's
MOST_LINES = 10  # of the grid


@dataclass(frozen=True, slots=True)
class Title:
    """What stands over a panel; `times` is written behind the numbers of its axis."""

    words: str
    meaning: str
    theirs: str = ""  # what a second, grey bar is
    times: str = "×"


TITLES = {
    "packets": Title(
        "What a packet costs",
        "times an empty XDP program, in the same run; program alone, without the driver",
        "grey: the best stateless XDP balancer (specification, not measured here)",
    ),
    "instructions": Title(
        "Instructions for each packet",
        "from the driver of one interface to that of another, net of both; by count, not by clock",
        "grey: the kernel's IPVS in the same place",
        times="",
    ),
    "endtoend": Title(
        "CPU time of a request, end to end",
        "times no balancer: client, director and real servers together, in network namespaces",
        "grey: others in the same place",
    ),
    "sweep": Title(
        "The price of expiry", "parts of what is allowed: 2 % of a CPU, a stall of 10 ms, 2 s late"
    ),
    "listing": Title(
        "Listing a million connections",
        "times a bare loop that writes as many lines; filters: times listing all",
    ),
    "checks": Title(
        "A thousand health checks a second",
        "CPU time of one, times a bare asyncio program that connects and closes as often",
    ),
    "protocols": Title(
        "Conversations with real servers",
        "CPU time of a thousand checks, times as many bare connects",
    ),
}
STYLE = """\
.page { fill: #ffffff; stroke: #d0d7de }
.ink { fill: #1f2328 } .soft { fill: #59636e } .missed { fill: #b35900 }
.bar { fill: #2f7d6b } .over { fill: #d9822b } .theirs { fill: #a7b0ba }
.span { opacity: .55 } .cut { stroke: #ffffff; stroke-width: 3; fill: none }
.goal { stroke: #1f2328; stroke-width: 2 } .grid { stroke: #e4e8ec }
text { font: 13px system-ui, 'DejaVu Sans', sans-serif }
.title { font-size: 17px; font-weight: 600 } .small { font-size: 11.5px }
.number { font-weight: 600 }
@media (prefers-color-scheme: dark) {
 .page { fill: #151b23; stroke: #3d444d }
 .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .missed { fill: #f0a357 }
 .bar { fill: #4fb39c } .over { fill: #e0934a } .theirs { fill: #5c6672 }
 .cut { stroke: #151b23 } .goal { stroke: #e6edf3 } .grid { stroke: #2a313a }
}"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One section's part of the picture, from `top` down."""

    section: str
    measured: tuple[Measured, ...]
    top: float

    @property
    def title(self) -> Title:
        other = Title(self.section, "times the floor, in the same run")
        return TITLES.get(self.section, other)

    @property
    def blocks(self) -> list[list[Bar]]:
        return blocks_of(self.section, [one.result for one in self.measured])

    @property
    def bars(self) -> list[Bar]:
        return [bar for block in self.blocks for bar in block]

    @property
    def height(self) -> float:
        rows = sum(map(_height, self.bars)) + (len(self.blocks) - 1) * GAP
        return HEADING + AXIS + rows + SOURCE

    @property
    def highest(self) -> float:
        """The end of the scale: every goal has a place on it, and nearly every bar.

        One that is much longer is cut, so that the others can be told apart.
        """
        amounts = sorted(bar.amount for bar in self.bars)
        theirs = sorted(bar.theirs[1] for bar in self.bars if bar.theirs) or [0.0]
        aims = (bar.goal or 0.0 for bar in self.bars)
        return max(*aims, theirs[len(theirs) * 8 // 10], amounts[len(amounts) * 9 // 10]) * 1.06


def _height(bar: Bar) -> int:
    return ROW + THEIRS * bool(bar.theirs)


def draw(measured: Sequence[Measured]) -> str:
    """The whole picture."""
    panels: list[Panel] = []
    top = MARGIN / 2 + LEGEND
    for name in dict.fromkeys(one.section for one in measured):
        panel = Panel(name, tuple(one for one in measured if one.section == name), top)
        if panel.bars:
            panels.append(panel)
            top += panel.height
    height = top + MARGIN / 2
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}"'
        f' viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="What onevip costs">'
    )
    parts = [
        opening,
        f"<style>{STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8"/>',
        *_legend(MARGIN),
        *(part for panel in panels for part in _panel(panel)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, words: str, kind: str = "ink", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:g}"'
    return f'<rect class="{kind}" {place} rx="1.5"/>'


def _goal(x: float, y: float, height: float) -> str:
    return f'<path class="goal" d="M{x:.1f} {y:.1f}v{height:g}"/>'


def _legend(y: float) -> Iterator[str]:
    x = float(MARGIN)
    for kind, words in (
        (Kind.OURS, "onevip"),
        (Kind.MISSED, "onevip, goal missed"),
        (Kind.OTHER, "others"),
    ):
        yield _box(kind, x, y - 8, 14, 9)
        yield _text(x + 20, y, words, "soft small")
        x += len(words) * LETTER + 42
    yield _goal(x + 3, y - 10, 13)
    yield _text(x + 12, y, "goal: at most", "soft small")


def _panel(panel: Panel) -> Iterator[str]:
    title = panel.title
    yield _text(MARGIN, panel.top + 28, title.words, "ink title")
    yield _text(MARGIN, panel.top + 47, title.meaning, "soft")
    scale = SCALE / panel.highest
    top = panel.top + HEADING + AXIS
    bottom = panel.top + panel.height - SOURCE
    if any(bar.theirs or bar.kind is Kind.OTHER for bar in panel.bars):
        yield _text(WIDTH - MARGIN, panel.top + 28, title.theirs, "soft small", "end")
    yield from _grid(panel.highest, scale, top, bottom, title.times)
    y = top
    for block in panel.blocks:
        group = ""
        for bar in block:
            if bar.group != group:
                group = bar.group
                yield _text(MARGIN, y + 14, group, "ink")
            yield from _row(bar, y, scale)
            y += _height(bar)
        y += GAP
    yield _text(MARGIN, bottom + 22, _source(panel.measured), "soft small")


def grid_step(highest: float) -> float:
    """1, 2 or 5 times a power of ten: so that there are at most MOST_LINES lines."""
    steps = (digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5))
    return next(step for step in steps if highest / step <= MOST_LINES)


def _grid(highest: float, scale: float, top: float, bottom: float, times: str) -> Iterator[str]:
    step = grid_step(highest)
    for line in range(int(highest / step) + 1):
        number = line * step
        x = LABELS + number * scale
        yield f'<path class="grid" d="M{x:.1f} {top - 8:.1f}V{bottom - 4:.1f}"/>'
        words = f"{number:,g}{times}" if number < 1e6 and line else "0"
        yield _text(x, top - 14, words, "soft small", "middle")


def _row(bar: Bar, y: float, scale: float) -> Iterator[str]:
    missed = bar.kind is Kind.MISSED
    yield _text(LABELS - 10, y + 14, bar.label, "ink", "end")
    yield from _strip(bar.kind, bar.amount * scale, y + 3, 13)
    end = LABELS + min(bar.amount * scale, SCALE)
    mark = LABELS + bar.goal * scale if bar.goal is not None else 0.0
    if mark:
        yield _goal(mark, y, 19)
        if 0 <= mark - end < 10 + len(bar.number) * DIGIT:
            end = mark
    yield _text(end + 7, y + 14, bar.number, "missed number" if missed else "ink number")
    note = end + 15 + len(bar.number) * DIGIT
    note_end = note + len(bar.note) * LETTER
    if bar.note and note_end < WIDTH - MARGIN / 2 and not note < mark < note_end:
        yield _text(note, y + 14, bar.note, "soft small")
    if bar.theirs:
        yield from _theirs(*bar.theirs, y + 18, scale)


def _strip(kind: str, length: float, y: float, height: float) -> Iterator[str]:
    """A bar, cut when it is longer than there is room."""
    yield _box(kind, LABELS, y, min(length, SCALE), height)
    if length > SCALE:
        x, lean = LABELS + SCALE - 16, (height + 4) / 3
        yield f'<path class="cut" d="M{x:.1f} {y + height + 2:.1f}l{lean:.1f} -{height + 4:g}"/>'


def _theirs(low: float, high: float, y: float, scale: float) -> Iterator[str]:
    yield from _strip(Kind.OTHER, low * scale, y, 8)
    if high > low:
        yield _box(f"{Kind.OTHER} span", LABELS + low * scale, y, (high - low) * scale, 8)
    words = f"{low:,g} to {high:,g}" if high > low else f"{low:,.0f}"
    yield _text(LABELS + min(high * scale, SCALE) + 7, y + 8, words, "soft small")


def _source(measured: Iterable[Measured]) -> str:
    """Where and from what; a section's results may come from several runs."""
    places = dict.fromkeys(
        f"{one.surroundings.cpu}, Linux {one.as_row()['kernel']}, commit"
        f" {one.surroundings.commit}, {one.surroundings.date}"
        for one in measured
    )
    return " · ".join(places)
