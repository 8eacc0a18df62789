"""Where the data plane cannot be loaded: one sentence with cause and remedy, nothing half-made."""

from __future__ import annotations

import ctypes
import errno
import os
import types
from pathlib import Path
from typing import Any

import pytest

from onevip.engines.bpf import doors, libbpf, loader, pins
from onevip.model import DataplaneError, UsageError


def kernel(release: str) -> Any:
    return lambda: types.SimpleNamespace(release=release)


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.0.19", "4.19.0"])
def test_an_old_kernel_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(os, "uname", kernel(release))
    with pytest.raises(
        DataplaneError, match=f"kernel {release} is too old: onevip needs Linux 6.1"
    ):
        loader.require_kernel()


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "6.12.95+deb12-amd64", "7.0.1"])
def test_a_new_enough_kernel_is_not(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(os, "uname", kernel(release))
    loader.require_kernel()


def test_a_missing_libbpf_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DataplaneError, match=r"libbpf\.so\.1 not found: apt install libbpf1"):
        libbpf.Library()


def test_an_old_libbpf_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "MINIMUM_VERSION", (99, 0))
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        pytest.skip("libbpf.so.1 is not installed here")
    with pytest.raises(DataplaneError, match=r"libbpf \d+\.\d+ is too old"):
        libbpf.Library()


def test_a_bpffs_that_cannot_be_mounted_says_how_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "root", lambda: None)
    monkeypatch.setattr(pins, "_mount_seen_by", lambda _: errno.EPERM)
    with pytest.raises(DataplaneError, match="mount -t bpf bpf /run/onevip/bpf") as caught:
        pins.mounted_root()
    assert caught.value.errno == errno.EPERM


def test_an_object_that_was_not_compiled_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loader, "OBJECTS", tmp_path)
    with pytest.raises(DataplaneError, match=r"tc\.bpf\.o not found: compile it: make bpf"):
        loader.object_path("tc")


def test_an_unknown_interface_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no interface eth99 .*there are .*lo"):
        doors.interface("eth99")


@pytest.mark.parametrize(("hz", "units"), [(100, 2812), (250, 1758), (1000, 1758)])
def test_900_seconds_in_clock_units_at_every_hz(hz: int, units: int) -> None:
    assert loader.clock_units(900, hz) == units
    assert units < 1 << 23  # the sweeper's "seen in the future"
