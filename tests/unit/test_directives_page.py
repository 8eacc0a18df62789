"""docs/ldirectord.cf.md is true: it names every directive, where it stands, and which are new."""

from __future__ import annotations

import re
from pathlib import Path

from onevip.config.directives import DIRECTIVES, NEW
from onevip.config.names import SERVICE_OF_PORT
from onevip.model import CheckType
from onevip.model.service import SCHEDULERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ldirectord.cf.md").read_text()
ROW = re.compile(r"^\| `([a-z0-9]+)`( \*new\*)? \| (G V|G|V) \|", re.MULTILINE)


def test_every_directive_has_its_row_and_no_other():
    rows = {match[1]: match[3] for match in ROW.finditer(PAGE)}
    assert rows == {
        name: " ".join(
            letter
            for letter, reader in (("G", directive.globally), ("V", directive.in_section))
            if reader
        )
        for name, directive in DIRECTIVES.items()
    }
    assert list(rows) == sorted(rows)


def test_what_is_new_is_marked():
    assert {match[1] for match in ROW.finditer(PAGE) if match[2]} == NEW


def test_services_schedulers_and_checktypes_are_named():
    for port, service in SERVICE_OF_PORT.items():
        assert re.search(rf"\b{service}\s+{port}\b", PAGE), service
    assert ", ".join(SCHEDULERS) in PAGE
    for check_type in CheckType:
        assert check_type is CheckType.COMBINED or f"`{check_type.value}`" in PAGE
