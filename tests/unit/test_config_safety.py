"""Root obeys only a file that nobody else can change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onevip.config import load, read_file, safety
from onevip.model import ConfigError

PASSWORD = 'virtual=10.0.0.1:21\n\treal=10.0.0.2:21 masq\n\tpasswd="hunter2"\n'
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="files change hands only as root")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "lb.cf"
    path.parent.mkdir(mode=0o755)
    path.write_text("checkinterval=3\n")
    path.chmod(0o640)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert (caught.value.line, caught.value.ours) == (0, True)
    return caught.value.message


@root_only
def test_roots_own_file_is_obeyed(file):
    assert load(file).check_interval_s == 3


@root_only
@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666])
def test_a_file_that_others_may_write_is_refused(file, mode):
    file.chmod(mode)
    assert refusal(file) == f"can be written by others than root: chmod go-w {file}"


@root_only
def test_a_file_of_somebody_else_is_refused(file):
    os.chown(file, 65534, 0)
    assert refusal(file) == f"belongs to user 65534, not to root: chown root {file}"


@root_only
@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_a_directory_in_which_others_may_put_another_file_is_refused(file, mode):
    file.parent.chmod(mode)
    assert refusal(file).startswith(f"lies under {file.parent}, which others than root may write")


@root_only
def test_a_sticky_directory_is_none_of_these(file):
    file.parent.chmod(0o1777)
    assert load(file).check_interval_s == 3


@root_only
def test_the_directory_of_a_link_counts_too(file, tmp_path):
    link = tmp_path / "links" / "lb.cf"
    link.parent.mkdir()
    link.symlink_to(file)
    assert load(link).check_interval_s == 3
    link.parent.chmod(0o777)
    assert refusal(link).startswith(f"lies under {link.parent}, which others than root may write")
    link.parent.chmod(0o755)
    file.parent.chmod(0o777)
    assert refusal(link).startswith(f"lies under {file.parent}, which others than root may write")


@root_only
def test_a_link_to_a_directory_leads_on(file, tmp_path):
    (tmp_path / "there").symlink_to("etc")
    os.chown(file.parent, 65534, 0)
    assert refusal(tmp_path / "there" / "lb.cf") == (
        f"lies under {file.parent}, which belongs to user 65534, not to root"
    )


@root_only
def test_a_relative_path_is_followed_upwards(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    file.parent.chmod(0o777)
    assert refusal(Path("lb.cf")).startswith(f"lies under {file.parent}")


def test_who_is_not_root_may_read_what_he_likes(file, monkeypatch):
    file.chmod(0o666)
    monkeypatch.setattr(safety.os, "geteuid", lambda: 1000)
    assert load(file).check_interval_s == 3


@pytest.mark.parametrize(("mode", "warned"), [(0o640, False), (0o644, True), (0o600, False)])
def test_a_password_that_everybody_may_read_brings_a_warning(file, mode, warned):
    file.write_text(PASSWORD)
    file.chmod(mode)
    expected = [f"everybody on this machine may read this passwd: chmod o-r {file}"]
    found = read_file(file).warnings
    assert [one.message for one in found] == (expected if warned else [])
    assert [one.line for one in found] == ([3] if warned else [])
    assert "hunter2" not in repr(found)
    assert load(file).warnings == tuple(f"{file}:3: {message}" for message in expected * warned)


def test_a_readable_file_without_a_password_brings_none(file):
    file.chmod(0o644)
    assert read_file(file).warnings == ()
