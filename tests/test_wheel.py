"""`pip install .` gives a working onevip: the wheel is pure Python and carries the BPF objects."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang here: apt install clang")
def test_the_wheel_is_pure_python_and_carries_every_bpf_object(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    objects = {f"{source.stem}.o" for source in (ROOT / "bpf").glob("*.bpf.c")}
    names = zipfile.ZipFile(wheel).namelist()
    assert {Path(name).name for name in names if name.endswith(".o")} == objects

    there = tmp_path / "installed"
    subprocess.run([*pip, "install", *offline, "--target", str(there), str(wheel)], check=True)
    version = subprocess.run(
        [sys.executable, "-c", "import onevip; print(onevip.__file__)"],
        check=True, capture_output=True, text=True, env={"PYTHONPATH": str(there)}, cwd=tmp_path,
    )  # fmt: skip
    assert version.stdout.startswith(str(there))
    usage = subprocess.run(
        [sys.executable, str(there / "bin" / "onevip"), "--help"],
        check=True, capture_output=True, text=True, env={"PYTHONPATH": str(there)}, cwd=tmp_path,
    )  # fmt: skip
    assert "ipvsadm" in usage.stdout
