"""Sequences recorded from the kernel's IPVS, replayed packet by packet: the same choices, the
same weight, ActiveConn and InActConn of every real server after every step. `make oracle` does
the same for any directory of them.

The recordings are no part of the project: they are read from $ONEVIP_FIXTURES, or from
../shared/fixtures beside the repository.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.packets import Packets
from oracle.recording import read
from oracle.replay import replayed
from packet.network import NAMED
from packet.wire import Director

ROOT = Path(__file__).parents[2]
FIXTURES = Path(os.environ.get("ONEVIP_FIXTURES") or ROOT.parent / "shared" / "fixtures")
NAMES = (
    "dh", "fo", "lblc", "lblcr", "lc", "mh", "mh_mhfallback", "mh_mhport", "nq", "ovf", "rr",
    "sed", "sh", "sh_shfallback", "sh_shport", "sh_shport_shfallback", "twos", "wlc",
    "wlc_thresholds", "wrr", "wrr_persistent",
)  # fmt: skip
#: A small one of our own: two connections to one real server.
OWN = {
    "vip": "10.0.0.100",
    "reals": ["10.1.0.10:8080"],
    "service": {"scheduler": "rr", "dests": [{"rs": 0, "weight": 1}]},
    "steps": [
        {"op": "open", "id": 0, "src": "10.0.64.7", "sport": 40000, "dst": "10.0.0.100", "got": 0,
         "after": [[1, 1, 0]]},
        {"op": "close", "id": 0, "after": [[1, 0, 1]]},
        {"op": "weight", "rs": 0, "weight": 0, "after": [[0, 0, 1]]},
        {"op": "open", "id": 1, "src": "10.0.64.7", "sport": 40001, "dst": "10.0.0.100",
         "got": None, "after": [[0, 0, 1]]},
        {"op": "del", "rs": 0, "after": [None]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_the_kernel(director: Director, name: str, seed: int) -> None:
    path = FIXTURES / "oracle" / f"{name}.{seed}.json"
    if not path.exists():
        pytest.skip(f"no recordings of the kernel's IPVS at {FIXTURES}: set ONEVIP_FIXTURES")
    replayed(Packets(director), read(path))


# `make oracle`.


def oracle(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oracle", *map(str, arguments)],
        env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}


def test_equal_is_said_and_exit_status_0(tmp_path: Path) -> None:
    (tmp_path / "own.1.json").write_text(json.dumps(OWN))
    for door in ("tc", "xdp"):
        done = oracle("--door", door, tmp_path)
        assert done.stdout == "own.1.json  equal, 5 steps\n1 of 1 equal\n", done.stderr
        assert done.returncode == 0


def test_every_kind_of_difference_is_said(tmp_path: Path) -> None:
    steps = OWN["steps"]
    assert isinstance(steps, list)

    def changed(nr: int, **fields: object) -> dict[str, object]:
        return {**OWN, "steps": [*steps[:nr], {**steps[nr], **fields}, *steps[nr + 1 :]]}

    wrong = {
        "choice": changed(0, got=None),
        "refusal": changed(3, got=0),
        "counters": changed(1, after=[[1, 1, 0]]),
        "weight": changed(2, after=[[2, 0, 1]]),
        "deleted": changed(4, after=[[0, 0, 1]]),
        "scheduler": {**OWN, "service": {**OWN["service"], "scheduler": "nonesuch"}},  # type: ignore[dict-item]
        "lacking": {"vip": "10.0.0.100"},
        "operation": changed(4, op="flush"),
        "unopened": changed(1, id=9),
        "empty": {**OWN, "steps": []},
        "number": changed(0, got=7),
    }
    for name, recording in wrong.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(recording))
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "unreadable.json").mkdir()
    done = oracle(tmp_path)
    assert done.returncode == 1
    *lines, last = done.stdout.splitlines()
    assert last == "0 of 13 equal"
    said = dict(line.split("  DIFFERENT", 1) for line in lines)
    opening = "open 10.0.64.7:40000 -> 10.0.0.100:80"
    assert said["choice.json"] == f" at step 0: {opening}: chose 0, kernel none"
    assert said["refusal.json"].endswith("chose none, kernel 0")
    assert said["counters.json"] == (
        " at step 1: close 0: real server 0 has weight, active, inactive [1, 0, 1], "
        "kernel [1, 1, 0]"
    )
    assert said["weight.json"].endswith("[0, 0, 1], kernel [2, 0, 1]")
    assert said["deleted.json"].endswith("no row, kernel [0, 0, 1]")
    assert said["scheduler.json"].startswith(" before the first step: no scheduler nonesuch")
    assert said["lacking.json"] == ": lacks 'service'"
    assert said["operation.json"] == ": step 4: unknown operation 'flush'"
    assert said["unopened.json"] == ": step 1: closes 9, which was never opened"
    assert said["empty.json"] == ": has no steps"
    assert said["number.json"] == ": step 0: there is no real server 7"
    assert said["text.json"].startswith(": no JSON: ")
    assert said["unreadable.json"] == ": cannot be read: Is a directory"


def test_nothing_to_replay_is_no_success(tmp_path: Path) -> None:
    assert oracle(tmp_path).returncode == 1
    assert oracle(tmp_path).stdout == "0 of 0 equal\n"
    missing = oracle(tmp_path / "missing")
    assert missing.returncode == 2
    assert "make oracle FIXTURES=DIR" in missing.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interruption(tmp_path: Path, sign: signal.Signals) -> None:
    for number in range(3000):
        (tmp_path / f"own.{number}.json").write_text(json.dumps(OWN))
    running = subprocess.Popen(
        [sys.executable, "-m", "oracle", str(tmp_path)],
        env=_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert "equal" in running.stdout.readline()
    assert (NAMED / f"onevip-p{running.pid}").exists()
    running.send_signal(sign)
    running.stdout.read()
    running.stdout.close()
    assert running.wait() == 130
    assert not (NAMED / f"onevip-p{running.pid}").exists()
