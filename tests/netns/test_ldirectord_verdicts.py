"""ldirectord and onevip look at the same servers: the same verdicts, but where mended."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.clusters import prefix
from netns.verdict_cases import CASES, Case
from onevip.lab.namespace import Namespace
from parts import program

SCRIPT = Path(__file__).with_name("verdicts.py")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[object]]]:
    program("ldirectord")
    host = Namespace(f"{prefix()}verdicts")
    host.create()
    try:
        host.ip("link set lo up")
        directory = tmp_path_factory.mktemp("verdicts")
        yield json.loads(host.run(sys.executable, str(SCRIPT), str(directory), timeout_s=240))
    finally:
        host.remove()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.service}-{case.name}")
def test_the_verdict_is_ldirectords_or_mended(case: Case, verdicts):
    theirs, ours, reason = verdicts[f"{case.service}: {case.name}"]
    assert (theirs, ours) == (case.real_up, case.up), reason
