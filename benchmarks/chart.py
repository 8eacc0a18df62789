"""Results as a picture for the README: SVG by hand, legible on light and on dark pages.

One panel for each section: a bar for each case's ratio, a mark for its goal, and below it a
thinner bar for what the best stateless XDP balancer costs according to the specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from benchmarks.reference import STATELESS_XDP
from benchmarks.results import Measured, Result

WIDTH = 900
LABELS = 306  # where labels end and bars begin
SCALE = 520  # pixels from 0 to the highest figure of a panel
MARGIN = 28
ROW, THEIRS, GAP = 23, 13, 11  # a row, what it grows by with a second bar, between groups
PRIMITIVES = {"one HASH lookup"}  # groups that are drawn for comparison
PRICE = "price:"  # cases that only tell what the run was like: not drawn
HEADING, AXIS, LEGEND, SOURCE = 58, 30, 30, 44
ROOM = 46  # pixels that a number needs
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

TITLES = {
    "packets": ("What a packet costs", "times an empty XDP program, in the same run"),
    "instructions": ("Instructions for each packet", "times the floor, in the same run"),
    "endtoend": ("CPU time for each request, end to end", "times no balancer, in the same run"),
}
STYLE = """\
.page { fill: #ffffff; stroke: #d0d7de }
.ink { fill: #1f2328 } .soft { fill: #59636e } .missed { fill: #b35900 }
.bar { fill: #2f7d6b } .over { fill: #d9822b } .theirs { fill: #a7b0ba } .plain { fill: #7a86a8 }
.span { opacity: .55 } .cut { stroke: #ffffff; stroke-width: 3; fill: none }
.goal { stroke: #1f2328; stroke-width: 2 } .grid { stroke: #e4e8ec }
text { font: 13px system-ui, 'DejaVu Sans', sans-serif }
.title { font-size: 17px; font-weight: 600 } .small { font-size: 11.5px }
.number { font-weight: 600 }
@media (prefers-color-scheme: dark) {
 .page { fill: #151b23; stroke: #3d444d }
 .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .missed { fill: #f0a357 }
 .bar { fill: #4fb39c } .over { fill: #e0934a } .theirs { fill: #5c6672 } .plain { fill: #7f8cb5 }
 .cut { stroke: #151b23 } .goal { stroke: #e6edf3 } .grid { stroke: #2a313a }
}"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One section's part of the picture, from `top` down."""

    section: str
    measured: tuple[Measured, ...]
    top: float

    @property
    def results(self) -> list[Result]:
        found = (one.result for one in self.measured)
        return [one for one in found if not one.case.startswith(PRICE)]

    @property
    def groups(self) -> list[list[Result]]:
        return [list(group) for _, group in groupby(self.results, key=lambda one: one.group)]

    @property
    def height(self) -> float:
        rows = sum(map(_height, self.results)) + (len(self.groups) - 1) * GAP
        return HEADING + AXIS + rows + SOURCE

    @property
    def highest(self) -> float:
        """The end of the scale: every goal and every figure to compare with has a place on it.

        One bar that is much longer is cut, so that the others can be told apart.
        """
        ratios = sorted(one.ratio for one in self.results)
        aims = [one.goal or 0.0 for one in self.results]
        theirs = [STATELESS_XDP.get(one.case, (0, 0))[1] for one in self.results]
        return max(*aims, *theirs, ratios[len(ratios) * 9 // 10]) * 1.06


def _height(result: Result) -> int:
    return ROW + THEIRS * (result.case in STATELESS_XDP)


def draw(measured: Sequence[Measured]) -> str:
    """The whole picture."""
    panels: list[Panel] = []
    top = MARGIN / 2 + LEGEND
    for name in dict.fromkeys(one.section for one in measured):
        panel = Panel(name, tuple(one for one in measured if one.section == name), top)
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
    for kind, words, length in (
        ("bar", "onevip", 62),
        ("over", "onevip, goal missed", 140),
        ("plain", "price of a primitive", 136),
        ("theirs", "best stateless XDP balancer (specification, not measured here)", 382),
    ):
        yield _box(kind, x, y - 8, 14, 9)
        yield _text(x + 20, y, words, "soft small")
        x += length + 20
    yield _goal(x + 3, y - 10, 13)
    yield _text(x + 12, y, "goal", "soft small")


def _panel(panel: Panel) -> Iterator[str]:
    title, meaning = TITLES.get(panel.section, (panel.section, "times the floor, in the same run"))
    yield _text(MARGIN, panel.top + 28, title, "ink title")
    yield _text(MARGIN, panel.top + 47, meaning, "soft")
    scale = SCALE / panel.highest
    top = panel.top + HEADING + AXIS
    bottom = panel.top + panel.height - SOURCE
    yield from _grid(panel.highest, scale, top, bottom)
    y = top
    for group in panel.groups:
        for result in group:
            yield from _row(result, y, scale)
            y += _height(result)
        y += GAP
    yield _text(MARGIN, bottom + 26, _source(panel.measured), "soft small")


def _grid(highest: float, scale: float, top: float, bottom: float) -> Iterator[str]:
    step = next(step for step in STEPS if highest / step <= 10 or step == STEPS[-1])
    for number in range(0, int(highest) + 1, step):
        x = LABELS + number * scale
        yield f'<path class="grid" d="M{x:.1f} {top - 8:.1f}V{bottom:.1f}"/>'
        yield _text(x, top - 14, f"{number}×" if number else "0", "soft small", "middle")


def _row(result: Result, y: float, scale: float) -> Iterator[str]:
    missed = result.is_reached is False
    length = min(result.ratio * scale, SCALE)
    yield _text(LABELS - 10, y + 14, result.case, "ink", "end")
    kind = "over" if missed else "plain" if result.group in PRIMITIVES else "bar"
    yield _box(kind, LABELS, y + 3, length, 13)
    end = LABELS + length
    if length < result.ratio * scale:
        yield f'<path class="cut" d="M{end - 16:.1f} {y + 18:.1f}l6 -17m4 0l-6 17"/>'
    if result.goal is not None:
        x = LABELS + result.goal * scale
        yield _goal(x, y, 19)
        if 0 <= x - end < ROOM:
            end = x
    words = f"{result.ratio:.1f}"
    yield _text(end + 7, y + 14, words, "missed number" if missed else "ink number")
    if result.note:
        yield _text(end + ROOM, y + 14, result.note, "soft small")
    if result.case in STATELESS_XDP:
        low, high = STATELESS_XDP[result.case]
        yield _box("theirs", LABELS, y + 19, low * scale, 9)
        yield _box("theirs span", LABELS + low * scale, y + 19, (high - low) * scale, 9)
        yield _text(LABELS + high * scale + 7, y + 28, f"{low:g} to {high:g}", "soft small")


def _source(measured: Iterable[Measured]) -> str:
    """Where and from what; a section's results may come from several runs."""
    places = dict.fromkeys(
        f"{one.surroundings.cpu}, Linux {one.as_row()['kernel']}, commit"
        f" {one.surroundings.commit}, {one.surroundings.date}"
        for one in measured
    )
    return " · ".join(places)
