"""`make test`: two halves side by side, then the host. A stub stands for pytest."""

from __future__ import annotations

import sys

import pytest

from scripts import run_tests

STUB = """
import sys
arguments = sys.argv[1:]
if "--collect-only" in arguments:
    sys.exit(0)
statuses = dict(traffic={0}, others={1}, host={2})
half = "traffic" if arguments[-1] == "tests/netns" else "others"
half = "host" if "tests/test_host.py" in arguments else half
print(f"{{len(half)}}.00s call     {{half}}::test_it")
sys.exit(statuses[half])
"""


@pytest.mark.parametrize("statuses", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_it_fails_when_any_part_does(statuses, monkeypatch, capfd):
    monkeypatch.setattr(run_tests, "PYTEST", (sys.executable, "-c", STUB.format(*statuses)))
    assert run_tests.main() == max(statuses)
    said = capfd.readouterr().out.partition("slowest of all:\n")[2].splitlines()
    assert said[:2] == ["    7.00s traffic::test_it", "    6.00s others::test_it"]
    assert said[-1].startswith("total: ")
