"""Directors for the tests: by both doors, or by one. A namespace and a data plane a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onevip import namespace
from onevip.engines.bpf import BpfEngine, loader, pins
from packet.frozen.director import FrozenDirector, compile_objects, frozen_director
from packet.network import director_namespace
from packet.road import Road
from packet.stage import Stage
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


@pytest.fixture(scope="session")
def frozen_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs with a clock that tests move, compiled once."""
    return compile_objects(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def frozen(frozen_objects: Path) -> Iterator[FrozenDirector]:
    """A director in a time of its own. One a module, in a namespace of its own."""
    with director_namespace(), frozen_director(frozen_objects) as director:
        yield director


@pytest.fixture(scope="module")
def _roads(frozen: FrozenDirector) -> dict[str, Road]:
    return {"tc": frozen.road, "xdp": Road(frozen.plane, "xdp")}


@pytest.fixture(params=["tc", "xdp"])
def stage(request: pytest.FixtureRequest, frozen: FrozenDirector, _roads: dict[str, Road]) -> Stage:
    """An empty director in ipvsadm's words; the same test runs at both doors."""
    return Stage(frozen, _roads[request.param])


@pytest.fixture
def tc_stage(frozen: FrozenDirector) -> Stage:
    """By the tc door: for what bears a mark, which xdp cannot see."""
    return Stage(frozen, frozen.road)
