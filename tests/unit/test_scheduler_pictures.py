"""docs/schedulers.md and its pictures are those of the rules as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from onevip.schedulers.by_name import BY_NAME

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs" / "schedulers").glob("*.svg"))


def test_the_pictures_are_what_the_rules_make() -> None:
    script = ROOT / "scripts" / "draw_schedulers.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_every_scheduler_and_its_picture() -> None:
    page = (ROOT / "docs" / "schedulers.md").read_text()
    assert set(re.findall(r"^## (\w+)(?::.*)?$", page, re.MULTILINE)) == set(BY_NAME)
    shown = re.findall(r"!\[(\w+)\]\(schedulers/(\w+)\.svg\)", page)
    assert all(words == name for words, name in shown)
    assert (
        {name for _, name in shown} == {path.stem for path in PICTURES} == set(BY_NAME) - {"none"}
    )


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_whole(path: Path) -> None:
    root = ET.fromstring(path.read_text())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        at, size = (float(rect.attrib[name]) for name in ("x", "width"))
        assert 0 <= at <= at + size <= width
        top, tall = (float(rect.attrib[name]) for name in ("y", "height"))
        assert 0 <= top <= top + tall <= height
