"""The real ldirectord beside onevip, on files that nobody wrote: the same, byte for byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import parts
from corpus import differential
from corpus.__main__ import OWN

FILES = 160


@pytest.fixture(scope="module")
def real_program() -> str:
    program = parts.program("ldirectord")
    unshared = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    )
    if unshared.returncode:
        pytest.skip("no mount namespace may be made here: run as root")
    return program


def sources() -> list[Path]:
    return sorted((OWN / "config").glob("*.cf")) + sorted((OWN / "malformed").glob("*.cf"))


def test_invented_and_mutated_files_are_read_alike(real_program, tmp_path):
    files = differential.files(tmp_path, sources(), range(FILES))
    found = dict(differential.compared(files, OWN / "hosts"))
    assert len(found) == FILES
    assert {path.read_text(errors="replace"): why for path, why in found.items() if why} == {}


def test_malformed_files_are_refused_to_the_last_byte(real_program):
    files = sorted((OWN / "malformed").glob("*.cf"))
    found = dict(differential.compared(files, OWN / "hosts"))
    assert {path.name: why for path, why in found.items() if why} == {}


def test_another_reading_is_noticed(real_program, tmp_path, monkeypatch):
    path = tmp_path / "lb.cf"
    path.write_text("virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate 7\n")
    heads = differential.read
    monkeypatch.setattr(
        differential,
        "read",
        lambda text, file, world: heads(text.replace("gate 7", "gate 8"), file, world),
    )
    (why,) = dict(differential.compared([path], OWN / "hosts")).values()
    assert why == [
        (
            ".virtual[0].real[0].id is 'negotiate:http:tcp:10.0.0.2:80:::8:gate:\\\\/:', "
            "not 'negotiate:http:tcp:10.0.0.2:80:::7:gate:\\\\/:'"
        ),
        ".virtual[0].real[0].weight is '8', not '7'",
    ]
