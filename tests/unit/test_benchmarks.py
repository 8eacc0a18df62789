"""The pure parts of the benchmark; nothing is measured here."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, report, results
from benchmarks.bars import Kind, blocks_of
from benchmarks.cases import CASES, Case, Road
from benchmarks.flows import Traffic, client_of, flow_of
from benchmarks.measuring import Cost, Round, bursts, cost_of
from benchmarks.options import Options
from benchmarks.packets import goal_of
from benchmarks.reference import STATELESS_XDP
from benchmarks.results import Measured, Result, Surroundings
from benchmarks.traffic import traffic_of

HERE = Surroundings("6.18", "a CPU", "abc1234", "2026-01-02")
THERE = Surroundings("6.1", "another CPU", "def5678", "2026-03-04")


def measured(case: str, ratio: float = 2.0, section: str = "packets", **fields: object) -> Measured:
    result = Result(case, 20.0 * (ratio - 1), "ns", 20.0, ratio, **fields)  # type: ignore[arg-type]
    return Measured(section, result, HERE)


# Flows.


@pytest.mark.parametrize("bits", [*range(13), 17])
def test_every_flow_is_met_once_in_a_round(bits: int) -> None:
    flows = 1 << bits
    assert {flow_of(n, flows) for n in range(flows)} == set(range(flows))
    assert flow_of(flows + 3, flows) == flow_of(3, flows), "and the next round is the same"


def test_flows_are_not_met_in_the_order_of_their_numbers() -> None:
    met = [flow_of(n, 1 << 14) for n in range(1 << 14)]
    neighbours = sum(abs(one - other) < 16 for one, other in pairwise(met))
    assert neighbours < 100


def test_no_two_of_a_million_flows_have_the_same_client() -> None:
    assert client_of(0) == (IPv4Address("10.64.0.0"), 1024)
    assert client_of((1 << 20) - 1) == (IPv4Address("10.64.255.255"), 1039)
    assert len({client_of(flow) for flow in range(0, 1 << 20, 5)}) == len(range(0, 1 << 20, 5))


def test_only_powers_of_two_are_permuted() -> None:
    with pytest.raises(ValueError, match="1000 flows"):
        Traffic("requests", b"", 1000)


# Cases.


def test_case_names_are_unique_and_those_to_compare_with_exist() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert STATELESS_XDP.keys() <= {*names}
    assert {case.goal_of[0] for case in CASES if case.goal_of} <= {*names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_frames_fill_whole_words(case: Case) -> None:
    assert len(traffic_of(case).frame) == (80 if case.family == 6 else 64)


def test_every_packet_of_a_right_run_is_counted_on_its_road() -> None:
    assert Case("", Road.ESTABLISHED, 4).expects(8) == {"gate": 8}
    assert Case("", Road.REPLY, 4).expects(8) == {"replies": 8}
    assert Case("", Road.NEW, 4).expects(8) == {"new_connections": 8, "gate": 8}
    assert Case("", Road.STRANGER).expects(8) == {}


def test_in_a_full_table_those_without_a_place_are_told_apart() -> None:
    assert Case("", Road.ESTABLISHED, 4).expects(8, refused=1) == {"gate": 6}
    new = Case("", Road.NEW, 4).expects(8, table_full=3)
    assert new == {"new_connections": 5, "gate": 5, "table_full": 3}
    with pytest.raises(ValueError, match="more often"):
        Case("", Road.ESTABLISHED, 4).expects(9, refused=1)


def test_a_goal_may_be_a_multiple_of_another_case() -> None:
    others = {"gate": Result("gate", 40.0, "ns", 20.0, 3.0)}
    assert goal_of(Case("", Road.REPLY, goal_of=("gate", 1.5)), others) == 4.5
    assert goal_of(Case("", Road.REPLY, goal_of=("masq", 1.5)), others) is None
    assert goal_of(Case("", Road.REPLY, goal=7.0), others) == 7.0


# Arithmetic.


def test_costs_are_medians_over_the_rounds() -> None:
    rounds = [Round(20, 30, 130), Round(25, 40, 160), Round(22, 30, 1030)]
    assert cost_of(rounds) == Cost(empty=22, net=120, least=100)
    assert cost_of(rounds).ratio == (120 + 22) / 22


def test_half_of_the_wrappers_own_adjust_head_is_no_part_of_the_cost() -> None:
    assert cost_of([Round(20, 30, 100, own_head=7)]) == Cost(empty=20, net=63, least=63)


def test_bursts_make_all_packets() -> None:
    assert list(bursts(10, 4)) == [4, 4, 2]
    assert list(bursts(10, 10)) == [10]


# The file.


def test_a_whole_run_replaces_its_section_and_leaves_the_others() -> None:
    kept = [measured("a"), measured("old"), measured("a", section="endtoend")]
    new = [measured("b"), measured("a", 3.0)]
    assert results.merged(kept, "packets", new, is_whole=True) == [kept[2], *new]


def test_a_selection_replaces_only_its_own_cases() -> None:
    kept = [measured("a"), measured("b"), measured("a", section="endtoend")]
    new = [measured("c"), measured("a", 3.0)]
    assert results.merged(kept, "packets", new, is_whole=False) == [
        new[1],
        kept[1],
        kept[2],
        new[0],
    ]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "made" / "latest.json"
    assert results.load(file) == []
    kept = [measured("a", goal=4.0, least=1.5), measured("b", note="why")]
    results.save(kept, file)
    assert results.load(file) == kept


def test_a_row_is_flat_and_a_guests_kernel_counts_more() -> None:
    row = measured("a", kernel="6.12").as_row()
    assert {"case", "value", "unit", "floor", "ratio", "kernel", "cpu", "commit"} <= row.keys()
    assert row["kernel"] == "6.12"
    assert measured("a").as_row()["kernel"] == "6.18"


# Words and picture.


def test_the_table_says_what_was_reached() -> None:
    lines = report.table(
        [
            measured("first", 3.0, goal=4.0).result,
            measured("second", 5.0, goal=4.0, note="why").result,
            measured("third").result,
        ],
        "packets",
    ).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["reached", "why", "2.00"]
    assert "MISSED" in lines[2]
    assert lines[1].split()[:4] == ["first", "60", "40.0", "ns"]


def test_only_a_packet_s_ratio_has_a_raw_cost() -> None:
    head, line = report.table([measured("first", 3.0).result], "endtoend").splitlines()
    assert head.split() == ["case", "net", "least", "floor", "ratio", "goal"]
    assert line.split() == ["first", "40.0", "ns", "20.0", "3.00"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3763.9, "3764"), (49.1, "49.1"), (1.337, "1.34"), (0.0123, "0.0123"), (0, "0")],
)
def test_small_figures_keep_digits_that_count(value: float, shown: str) -> None:
    assert report.figure(value) == shown


def test_a_selection_is_part_of_a_name_or_a_pattern() -> None:
    assert Options(only="GATE, 1").wants("established gate, 1 flow")
    assert Options(only="new*wlc").wants("new connection by wlc, 10 real servers")
    assert not Options(only="masq").wants("established gate, 1 flow")
    assert Options().wants("anything")
    assert Options().is_whole
    assert not Options(quick=True).is_whole


def words_of(picture: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(picture).iter() if text.text]


def test_the_picture_is_well_formed_and_shows_what_has_a_goal() -> None:
    names = ["established gate, 1 flow", "a < b & c", "reply of masq, 1 flow"]
    shown = [measured(name, 2.5, goal=goal) for name, goal in zip(names, (4, 2, None), strict=True)]
    picture = chart.draw([*shown, measured("bulk, haproxy", 3.5, section="endtoend")])
    words = words_of(picture)
    assert {"established gate", "1 flow", "a < b & c", "6.2 to 7.2", "2.50"} <= set(words)
    assert {"bulk", "haproxy", "3.50"} <= set(words)
    assert "reply of masq" not in words, "nothing to be held against"
    assert picture.count('class="over"') == 2, "the missed goal, and the legend"


def test_instructions_are_drawn_beside_the_kernel_s() -> None:
    rows = {"gate, kernel IPVS": (4000, 1, None), "gate, onevip xdp": (500, 0.125, 0.15)}
    results = [
        Result(case, value, "instructions", 900, ratio, goal)
        for case, (value, ratio, goal) in rows.items()
    ]
    ((bar,),) = blocks_of("instructions", results)
    assert (bar.group, bar.label, bar.amount, bar.number) == ("gate", "onevip xdp", 500, "500")
    assert (bar.goal, bar.theirs, bar.note) == (600, (4000, 4000), "8.0 times fewer")
    assert bar.kind is Kind.OURS


def test_end_to_end_others_are_told_from_ours() -> None:
    names = ["bulk, no balancer", "bulk, onevip tc", "bulk, haproxy", "new, onevip tc"]
    blocks = blocks_of("endtoend", [measured(name).result for name in names])
    kinds = [[(bar.label, bar.kind) for bar in block] for block in blocks]
    assert kinds == [
        [("onevip tc", Kind.OURS), ("haproxy", Kind.OTHER)],
        [("onevip tc", Kind.OURS)],
    ]


def test_expiry_tells_values() -> None:
    late = Result("idle, late at most", 1.0, "s", 2.0, 0.5, goal=1.0)
    ((bar,),) = blocks_of("sweep", [late, Result("growth", 40, "ms", 1000, 0.04)])
    assert (bar.amount, bar.number, bar.goal) == (0.5, "1.00 s", 1.0)


def test_groups_of_one_make_a_block_together() -> None:
    names = ["a, 1", "b, 1", "c, 1", "c, 2"]
    blocks = blocks_of("packets", [measured(name, goal=3.0).result for name in names])
    assert [[bar.group for bar in block] for block in blocks] == [["a", "b"], ["c", "c"]]


@pytest.mark.parametrize(
    ("highest", "step"), [(1.06, 0.2), (2.7, 0.5), (58, 10), (9300, 1000), (26000, 5000)]
)
def test_a_grid_has_few_lines_at_round_numbers(highest: float, step: float) -> None:
    assert chart.grid_step(highest) == pytest.approx(step)


def test_one_very_long_bar_is_cut_and_says_its_ratio() -> None:
    shown = [measured(f"case, {n}", 3.0, goal=5.0) for n in range(20)]
    picture = chart.draw([*shown, measured("long", 160.0, goal=5.0)])
    assert "160.0" in words_of(picture)
    assert picture.count('class="cut"') == 1
    boxes = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
    assert all(float(box.get("x", 0)) + float(box.get("width", 0)) <= chart.WIDTH for box in boxes)


def test_prices_of_the_method_are_not_drawn() -> None:
    assert "price: MAC swap" not in words_of(
        chart.draw([measured("a", goal=1.0), measured("price: MAC swap")])
    )


def test_a_result_of_another_machine_is_told() -> None:
    picture = chart.draw(
        [measured("a", goal=1.0), Measured("packets", measured("b").result, THERE)]
    )
    assert any("another CPU" in word and "a CPU" in word for word in words_of(picture))


def test_real_servers_that_change_are_a_calm_case_s_neighbour() -> None:
    calm = next(case for case in CASES if case.name.startswith("new connection by wlc, 1000"))
    busy = [case for case in CASES if case.name.startswith("new, wlc of 1000")]
    assert [(case.changes, case.in_each_chunk) for case in busy] == [(2, False), (0, True)]
    assert all(replace(case, name="", changes=0, in_each_chunk=False, goal=None)
               == replace(calm, name="", goal=None) for case in busy)  # fmt: skip
