"""Clusters for the tests with real traffic: one a module and method, gone afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.clusters import add_upload_service, prefix, serve
from onevip.lab import Cluster
from onevip.lab.namespace import NAMESPACES

Build = Callable[..., Cluster]


@pytest.fixture(scope="session", autouse=True)
def _sweep_killed_runs() -> None:
    """Takes down the clusters of test runs that were killed."""
    if not NAMESPACES.is_dir():
        return
    for path in list(NAMESPACES.iterdir()):
        found = re.match(r"onevip-t(\d+)-\d+-", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            Cluster(prefix=found[0]).down()


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    """Builds clusters that end with the module: `build("masq", door="xdp")`."""
    with ExitStack() as clusters:

        def _build(method: str, door: str = "tc") -> Cluster:
            return clusters.enter_context(Cluster(method, prefix(), door))

        yield _build


@pytest.fixture(
    scope="module",
    params=[f"{method}-{door}" for door in ("tc", "xdp") for method in ("gate", "masq", "ipip")],
)
def cluster(request: pytest.FixtureRequest, build: Build) -> Iterator[Cluster]:
    """A cluster whose daemon runs and whose real servers have weight, by either door."""
    method, door = request.param.split("-")
    cluster = build(method, door)
    serve(cluster)
    if door == "xdp":
        cluster.attach_xdp()
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def uploads(cluster: Cluster) -> Iterator[None]:
    """A second service, made by ipvsadm, whose real servers swallow what they are sent."""
    sinks = add_upload_service(cluster)
    yield
    for sink in sinks:
        sink.terminate()
        sink.wait()
