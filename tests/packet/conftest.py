"""Directors for the tests: by both doors, or by one. A namespace and a data plane a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from onevip import namespace
from onevip.engines.bpf import BpfEngine, loader, pins
from packet.network import director_namespace
from packet.wire import Director

Directors = Callable[[str], Director]


@pytest.fixture(scope="module")
def _directors() -> Iterator[Directors]:
    """Directors by door over one data plane, in a namespace of their own."""
    with director_namespace():
        engine = BpfEngine()
        with pins.writer_lock() as base:
            plane = loader.load(base)
            loader.enable_lookups()
        made = {door: Director(engine, plane, door) for door in ("tc", "xdp")}

        def _director(door: str) -> Director:
            made[door].forget()
            return made[door]

        try:
            yield _director
        finally:
            engine.unload()
            assert not (pins.BPFFS / namespace.identity()).exists()


@pytest.fixture(params=["tc", "xdp"])
def director(request: pytest.FixtureRequest, _directors: Directors) -> Director:
    """An empty table; the same test runs at both doors."""
    return _directors(request.param)


@pytest.fixture
def tc(_directors: Directors) -> Director:
    return _directors("tc")


@pytest.fixture
def xdp(_directors: Directors) -> Director:
    return _directors("xdp")
