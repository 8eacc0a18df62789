"""Files as the real ldirectord read them: its structure, its tables, its messages.

The project's own corpus is always here; the larger one lies beside the repository or where
ONEVIP_FIXTURES says.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpus import compare, faults
from corpus.__main__ import OWN, main
from corpus.compare import Corpus

_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
SHARED = Path(os.environ.get("ONEVIP_FIXTURES", _BESIDE)) / "ldirectord"
CORPORA = [Corpus(directory) for directory in (OWN, SHARED) if directory.is_dir()]
WILD = [(corpus, name) for corpus in CORPORA for name in sorted(corpus.expected)]
MALFORMED = [(corpus, name) for corpus in CORPORA for name in sorted(corpus.malformed)]


def named(case: object) -> str:
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize(("corpus", "name"), WILD, ids=named)
def test_a_file_means_what_it_means_to_ldirectord(corpus, name):
    assert corpus.compared(name).differences == ()


@pytest.mark.parametrize(("corpus", "name"), MALFORMED, ids=named)
def test_a_malformed_file_is_refused_in_the_same_line_with_the_same_words(corpus, name):
    assert corpus.refused(name).differences == ()


def test_a_difference_is_seen_and_counted(tmp_path, capsys):
    own = Corpus(OWN)
    for folder in ("config", "malformed"):
        (tmp_path / folder).mkdir()
        for file in (OWN / folder).iterdir():
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    for file in ("hosts", "expected.json"):
        (tmp_path / file).write_bytes((OWN / file).read_bytes())
    web = tmp_path / "config" / "web.cf"
    web.write_text(web.read_text().replace("gate 2", "gate 3"))
    broken = tmp_path / "malformed" / "smtp-bad.cf"
    broken.write_text("\n" + broken.read_text())
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if line.startswith("web.cf")]
    assert "DIFFERENT: virtual[0].real[1].id is" in line
    assert "virtual[0].real[1].weight is '3', not '2'" in line
    assert "the table with every server up: 10.1.0.1:80 -> 10.1.0.12:80" in line
    (line,) = [line for line in said if line.startswith("smtp-bad")]
    assert "at line 3: invalid SMTP server address', not" in line
    total = len(own.expected) + len(own.malformed)
    assert said[-2:] == [
        "2 but for a fault of the real program that is not repeated",
        f"{total - 2} of {total} equal",
    ]


def test_a_fault_that_is_not_to_be_seen_is_a_difference(monkeypatch):
    fault = faults.Fault("weights are wrong", frozenset({"10.1.0.1:80 -> 10.1.0.11:80"}))
    monkeypatch.setitem(compare.FAULTS, ("web.cf", "up"), (fault,))
    assert Corpus(OWN).compared("web.cf").differences == (
        "up: weights are wrong is not to be seen",
    )


def test_what_is_no_corpus_is_said(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"no configurations and expected.json at {tmp_path}" in capsys.readouterr().err
