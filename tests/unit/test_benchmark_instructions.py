"""Instructions a packet: the guard and the arithmetic. Measures nothing."""

from __future__ import annotations

import socket
import struct

import pytest

from benchmarks import instructions, live
from benchmarks.instructions import CASES, FLOOR, check, results_of, selected
from benchmarks.live import Run
from benchmarks.options import Options
from benchmarks.sections import BenchmarkError

GATE_IPVS, GATE_XDP = (
    f"established gate, two legs, {who}" for who in ("kernel IPVS", "onevip xdp")
)
COSTS = {FLOOR: 900.0, GATE_IPVS: 4900.0, GATE_XDP: 1500.0}


def test_a_result_is_net_of_the_floor_and_a_ratio_to_ipvs() -> None:
    ipvs, onevip = results_of(COSTS, Options(), "6.12.0")
    assert (ipvs.case, ipvs.value, ipvs.ratio, ipvs.goal) == (GATE_IPVS, 4000, 1, None)
    assert (onevip.case, onevip.value, onevip.ratio) == (GATE_XDP, 600, 0.15)
    assert (onevip.floor, onevip.unit, onevip.kernel) == (900, "instructions", "6.12.0")


@pytest.mark.parametrize(("cost", "is_reached"), [(1500.0, True), (1501.0, False)])
def test_a_goal_is_in_instructions(cost: float, is_reached: bool) -> None:
    found = results_of(COSTS | {GATE_XDP: cost}, Options(only=GATE_XDP), "6.12.0")
    assert [(one.case, one.is_reached) for one in found] == [(GATE_XDP, is_reached)]


def test_what_is_compared_with_is_measured_too() -> None:
    names = [case.name for case in selected(Options(only=GATE_XDP), has_ipvs=True)]
    assert names == [FLOOR, GATE_IPVS, GATE_XDP]
    names = [case.name for case in selected(Options(only=GATE_XDP), has_ipvs=False)]
    assert names == [FLOOR, GATE_XDP]


def test_every_case_but_the_floor_is_compared_with_one_of_ipvs() -> None:
    ipvs = {case.name for case in CASES if case.is_ipvs}
    assert {case.ipvs for case in CASES[1:]} == ipvs
    assert CASES[0].name == FLOOR


def test_one_leg_is_compared_with_one_leg() -> None:
    by_name = {case.name: case for case in CASES}
    assert {case.has_one_leg for case in CASES} == {False, True}
    for case in CASES:
        if case.has_one_leg or case.name == "XDP_TX with MACs swapped":
            assert by_name[case.ipvs].has_one_leg


@pytest.mark.parametrize(
    ("run", "carried", "elsewhere"),
    [
        pytest.param(Run(640, 639, 0, 1.0), 640, 0, id="one lost after the director"),
        pytest.param(Run(640, 639, 1, 1.0), 640, 0, id="one with another address"),
        pytest.param(Run(640, 640, 0, 1.0), 639, 0, id="one that the road did not count"),
        pytest.param(Run(640, 640, 0, 1.0), 641, 0, id="one too many"),
        pytest.param(Run(640, 640, 0, 1.0), 638, 2, id="one server, two by the other door"),
    ],
)
def test_a_run_whose_counts_do_not_add_up_is_no_result(
    run: Run, carried: int, elsewhere: int
) -> None:
    with pytest.raises(BenchmarkError):
        check(CASES[0], run, carried, elsewhere)


def test_each_real_server_s_packet_may_go_by_the_tc_door_once_a_second() -> None:
    of_ten = next(case for case in CASES if case.reals == 10)
    check(of_ten, Run(640, 640, 0, 1.0), 630, 10)
    two_seconds = Run(640, 640, 0, 2e9 / 640)
    check(of_ten, two_seconds, 610, 30)
    with pytest.raises(BenchmarkError):
        check(of_ten, two_seconds, 609, 31)


def test_without_kernelvm_the_section_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions, "PLACES", (None, "/nonexistent"))
    assert instructions.run(Options()) == []
    assert "ONEVIP_KERNELVM" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, socket.IPPROTO_UDP])
def test_a_frame_is_sound_once_the_generator_has_filled_in_the_client(protocol: int) -> None:
    sent = bytearray(live.frame(protocol, live.ACK))
    client = socket.inet_aton(live.CLIENTS)
    total = live.sum_of_words(bytes(sent[14:34])) + live.sum_of_words(client)
    sent[26:30] = client
    sent[24:26] = struct.pack("=H", ~folded(total) & 0xFFFF)
    assert folded(live.sum_of_words(bytes(sent[14:34]))) == 0xFFFF  # RFC 1071
    assert len(sent) == 66 == 14 + int.from_bytes(sent[16:18], "big")


def folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
