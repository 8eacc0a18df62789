"""`make setup` leaves the host's service policy as it found it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "setup_machine.py"
OF_THE_HOST = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def setup_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with its policy-rc.d in a directory of the test."""
    spec = importlib.util.spec_from_file_location("setup_machine", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POLICY", tmp_path / "policy-rc.d")
    return module


def test_no_service_starts_while_it_installs_and_the_policy_goes_afterwards(
    setup_machine: ModuleType,
) -> None:
    with setup_machine.no_service_starts():
        assert "exit 101" in setup_machine.POLICY.read_text()
        assert setup_machine.POLICY.stat().st_mode & 0o111
    assert not setup_machine.POLICY.exists()


def test_the_policy_goes_also_when_the_installation_fails(setup_machine: ModuleType) -> None:
    with pytest.raises(setup_machine.SetupError), setup_machine.no_service_starts():
        raise setup_machine.SetupError("planted")
    assert not setup_machine.POLICY.exists()


def test_a_policy_of_the_host_stays_exactly_as_it_is(setup_machine: ModuleType) -> None:
    setup_machine.POLICY.write_text(OF_THE_HOST)
    setup_machine.POLICY.chmod(0o700)
    before = setup_machine.POLICY.stat()
    with setup_machine.no_service_starts():
        assert setup_machine.POLICY.read_text() == OF_THE_HOST
    after = setup_machine.POLICY.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert setup_machine.POLICY.read_text() == OF_THE_HOST


def test_nothing_missing_installs_nothing(
    setup_machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_machine, "no_service_starts", None)
    setup_machine.install_packages([])


def test_missing_packages_without_root_are_one_sentence(
    setup_machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/bin/apt-get")
    with pytest.raises(setup_machine.SetupError, match="apt install wrk"):
        setup_machine.install_packages([("wrk",)])
