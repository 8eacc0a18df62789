"""The engine between processes: who loads, unloads, upgrades, reads and writes beside it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.engines.bpf import BpfEngine, loader
from onevip.model import (
    AddRealServer,
    AddService,
    DataplaneError,
    ForwardingMethod,
    Protocol,
    RealServer,
    ServiceKey,
)
from packet.network import director_namespace, real_address

WEB = ServiceKey(Protocol.TCP, IPv4Address("10.0.0.100"), 80)
MAIL = ServiceKey(Protocol.TCP, IPv4Address("10.0.0.100"), 25)


def server(number: int = 10, weight: int = 1) -> RealServer:
    return RealServer(IPv4Address(real_address(number)), 80, ForwardingMethod.GATE, weight)


@pytest.fixture(scope="module")
def _network() -> Iterator[None]:
    with director_namespace():
        yield


@pytest.fixture
def engine(_network: None) -> Iterator[BpfEngine]:
    """Nothing is loaded yet."""
    yield BpfEngine()
    BpfEngine().unload()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Another process unloads and loads again, between two looks of a daemon.


def test_a_table_that_was_loaded_anew_is_the_one_that_is_read_and_edited(
    engine: BpfEngine,
) -> None:
    engine.apply([AddService(WEB, "rr")])
    assert list(engine.read().services) == [WEB]
    another = BpfEngine()
    another.unload()
    another.apply([AddService(MAIL, "rr")])
    assert list(engine.read().services) == [MAIL]
    engine.apply([AddRealServer(MAIL, server())])
    assert another.read() == engine.read()


def test_loading_anew_leaves_no_descriptors(engine: BpfEngine) -> None:
    def all_of_it() -> None:
        BpfEngine().unload()
        engine.apply([AddService(WEB, "rr"), AddRealServer(WEB, server())])
        engine.snapshot()
        engine.door_counters()
        engine.upkeep()

    all_of_it()
    before = descriptors()
    for _ in range(3):
        all_of_it()
    assert descriptors() == before


def test_loading_that_fails_leaves_no_descriptors(
    engine: BpfEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A daemon tries again each second, for days."""
    for name in ("tc", "xdp"):
        (tmp_path / f"{name}.bpf.o").write_bytes(loader.object_path(name).read_bytes())
    (tmp_path / "sweep.bpf.o").write_bytes(loader.object_path("decap").read_bytes())
    monkeypatch.setattr(loader, "OBJECTS", tmp_path)
    found = []
    for _ in range(3):
        with pytest.raises((DataplaneError, KeyError)):
            engine.apply([AddService(WEB, "rr")])
        found.append(descriptors())
    assert len(set(found)) == 1
