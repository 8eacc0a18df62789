"""The engine between processes: who loads, unloads, upgrades, reads and writes beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.utils import mac2str

from onevip.engines.bpf import BpfEngine, libbpf, loader, pins
from onevip.engines.bpf.doors import Doors, interface
from onevip.engines.bpf.writer import together
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DataplaneError,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerExists,
    ServiceKey,
    Table,
    UnknownRealServer,
    UnknownService,
)
from packet.network import FRONT, director_namespace, ip, real_address
from packet.objects import compile_object

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


def test_a_limit_of_connections_ends_with_the_data_plane(engine: BpfEngine) -> None:
    with pytest.raises(DataplaneError, match="there is no connection table here yet"):
        engine.set_limit(1000)
    engine.apply([AddService(WEB, "rr")])
    assert engine.set_limit(1000).limit == BpfEngine().room().limit == 1000
    BpfEngine().unload()
    with pytest.raises(DataplaneError, match="there is no connection table here yet"):
        engine.room()
    engine.apply([AddService(WEB, "rr")])
    assert engine.room().limit == 1 << 20


def test_a_sweeper_that_stands_still_is_told(engine: BpfEngine) -> None:
    engine.apply([AddService(WEB, "rr")])
    assert not engine.room().stands_still
    plane = loader.find()
    assert plane is not None
    timer = libbpf.get_pinned(plane.path / "maps" / "sweeper")
    libbpf.map_update(timer, bytes(4), bytes(16))  # this cancels the timer
    os.close(timer)
    time.sleep(1.1)
    assert engine.room().stands_still
    engine.upkeep()
    assert engine.upkeep() == ["the sweeper stood still: its timer was started again"]
    time.sleep(0.1)
    assert not engine.room().stands_still


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


# Reading while another process writes.


def edit_a_list_for_ever() -> None:
    engine = BpfEngine()
    while True:
        engine.apply([DeleteRealServer(WEB, server(39).key)])
        engine.apply([AddRealServer(WEB, server(39))])


def remake_a_service_for_ever() -> None:
    engine = BpfEngine()
    while True:
        engine.apply([AddService(MAIL, "rr"), AddRealServer(MAIL, server(11))])
        engine.apply([DeleteService(MAIL)])


@contextmanager
def another_process(what: Callable[[], None]) -> Iterator[None]:
    tests = Path(__file__).parents[1]
    program = f"from packet import test_engine; test_engine.{what.__name__}()"
    paths = f"{tests.parent / 'src'}:{tests}"
    child = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        time.sleep(0.5)
        yield
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_table_is_read_as_it_was_at_one_moment(engine: BpfEngine) -> None:
    engine.apply([AddService(WEB, "rr")] + [AddRealServer(WEB, server(n)) for n in range(10, 40)])
    with another_process(edit_a_list_for_ever):
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            seen = engine.snapshot()
            assert len(seen.table.services[WEB].real_servers) in (29, 30)


def test_a_service_that_another_deletes_is_there_or_is_not(engine: BpfEngine) -> None:
    engine.apply([AddService(WEB, "rr"), AddRealServer(WEB, server())])
    with another_process(remake_a_service_for_ever):
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert WEB in engine.snapshot().table.services
            with suppress(UnknownService):
                engine.snapshot(MAIL)


# Changes that are made together.


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ([AddRealServer(WEB, server(n)) for n in (3, 3, 4)], {1: 1, 2: 1, 3: 1}),
        ([EditRealServer(WEB, server(n, 5)) for n in (1, 9, 2)], {1: 5, 2: 1}),
        ([DeleteRealServer(WEB, server(n).key) for n in (1, 9, 2)], {2: 1}),
    ],
    ids=["add", "edit", "delete"],
)
def test_of_changes_at_once_those_before_one_that_does_not_fit_are_in_force(
    engine: BpfEngine, changes: list[Change], left: dict[int, int]
) -> None:
    engine.apply(
        [AddService(WEB, "rr"), AddRealServer(WEB, server(1)), AddRealServer(WEB, server(2))]
    )
    with pytest.raises((RealServerExists, UnknownRealServer)):
        engine.apply(changes)
    found = engine.read().services[WEB].real_servers
    assert {int(one.address) & 0xFF: one.weight for one in found} == left
    plane = loader.find()
    assert plane is not None
    assert plane.settings.get(0, "writing") == 0


def test_changes_at_once_keep_their_order() -> None:
    """A server that loses its weight does so after those before it have theirs."""
    up, down, new = EditRealServer(WEB, server(1)), EditRealServer(WEB, server(2, 0)), server(3)
    changes = [AddRealServer(WEB, new), up, up, down, up, DeleteRealServer(WEB, new.key)]
    groups = [len(group) for group in together([*changes, Clear(), Clear()])]
    assert groups == [1, 2, 1, 1, 1, 1, 1]
    assert [change for group in together(changes) for change in group] == changes


# Doors.


def doors_of(engine: BpfEngine) -> dict[str, tuple[str, ...]]:
    return {door.interface.name: door.doors for door in engine.doors()}


def test_doors_are_opened_also_when_a_later_change_does_not_fit(engine: BpfEngine) -> None:
    """The changes before it stay in force, so packets must come in."""
    with pytest.raises(UnknownRealServer):
        engine.apply([AddService(WEB, "rr"), DeleteRealServer(WEB, server().key)])
    assert doors_of(engine)["front"] == ("tc",)


def test_an_interface_may_have_any_name(engine: BpfEngine) -> None:
    """The kernel takes any bytes but slash, colon and space."""
    name = b"caf\xe9"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", "other"], check=True)
    try:
        engine.apply([AddService(WEB, "rr")])
        assert doors_of(engine)[os.fsdecode(name)] == ("tc",)
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


def test_the_egress_door_closes_with_the_last_server_here(engine: BpfEngine) -> None:
    """It sees every packet that leaves: a fallback server that came and went must not keep it."""

    def is_open() -> bool:
        plane = loader.find()
        assert plane is not None
        return Doors(plane)._egress(interface("front")).is_attached()

    here = RealServer(IPv4Address("127.0.0.1"), 80, ForwardingMethod.GATE, 1)
    engine.apply([AddService(WEB, "rr"), AddRealServer(WEB, here)])
    assert is_open()
    engine.apply([DeleteRealServer(WEB, here.key)])
    assert not is_open()


def test_an_index_that_is_used_again_is_another_interface(engine: BpfEngine) -> None:
    engine.apply([AddService(WEB, "rr")])
    ip("link add one index 77 type veth peer name one-peer\n")
    engine.follow_interfaces()
    engine.detach("one", "tc")
    ip("link del one\n")
    engine.follow_interfaces()
    ip("link add two index 77 type veth peer name two-peer\n")
    try:
        engine.follow_interfaces()
        assert doors_of(engine)["two"] == ("tc",)
    finally:
        ip("link del two\n")


def test_the_xdp_door_is_told_its_interfaces_mac(engine: BpfEngine) -> None:
    """What is for another machine is none of its business."""
    engine.apply([AddService(WEB, "rr")])
    assert engine.attach("front", "xdp") == ["front: xdp, tc"]
    plane = loader.find()
    assert plane is not None
    index = socket.if_nametoindex("front")

    def told() -> bytes:
        assert plane.own_macs.get(index, "interface") == index
        return plane.own_macs.get_bytes(index, "mac")[:6]

    assert told() == mac2str(FRONT)
    ip("link set front address 02:00:00:00:00:77\n")
    try:
        engine.follow_interfaces()
        assert told() == mac2str("02:00:00:00:00:77")
    finally:
        ip(f"link set front address {FRONT}\n")


# Upgrades.


class KilledError(Exception):
    """As kill -9, for what comes after."""


def test_an_upgrade_that_was_killed_before_doors_were_swapped_is_done_again(
    engine: BpfEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.apply([AddService(WEB, "rr")])
    monkeypatch.setattr(loader, "build_id", lambda: 1)

    def killed(_: Doors) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Doors, "swap", killed)
        with pytest.raises(KilledError):
            engine.adopt()
    assert engine.adopt() != []
    assert engine.adopt() == []


def test_programs_of_another_layout_are_not_loaded_over_the_maps(
    engine: BpfEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The verifier would let a smaller one pass."""
    engine.apply([AddService(WEB, "rr")])
    before = engine.read()
    source, shapes_h = Path(__file__).parents[2] / "bpf", "shapes.h"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / shapes_h).read_text()
    (tmp_path / shapes_h).write_text(text.replace("MAX_REALS = 16384", "MAX_REALS = 32768"))
    objects = tmp_path / "objects"
    objects.mkdir()
    for name in ("tc", "xdp", "sweep"):
        compile_object(tmp_path / f"{name}.bpf.c", objects / f"{name}.bpf.o")
    monkeypatch.setattr(loader, "OBJECTS", objects)
    with pytest.raises(DataplaneError, match="another layout"):
        engine.adopt()
    assert engine.read() == before


def test_a_table_of_another_version_is_left_alone(engine: BpfEngine) -> None:
    """Fields may have changed places in a structure of the same size."""
    engine.apply([AddService(WEB, "rr")])
    plane = loader.find()
    assert plane is not None
    plane.settings.set(0, "shapes_version", 99)
    with pytest.raises(DataplaneError, match="another version of onevip"):
        BpfEngine().read()
    with pytest.raises(DataplaneError, match="another version of onevip"):
        BpfEngine().apply([AddService(MAIL, "rr")])
    BpfEngine().unload()
    assert BpfEngine().read() == Table.of()


def test_an_unload_that_was_killed_leaves_nothing_that_counts(
    engine: BpfEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.apply([AddService(WEB, "rr")])

    def killed(path: Path) -> None:
        (path / "maps" / "settings").unlink()
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pins, "remove_tree", killed)
        with pytest.raises(KilledError):
            engine.unload()
    assert BpfEngine().read() == Table.of()
    BpfEngine().apply([AddService(MAIL, "rr")])
    assert list(BpfEngine().read().services) == [MAIL]


def test_sctp_by_masq_keeps_its_port_after_an_edit_too(engine: BpfEngine) -> None:
    """Its checksum covers the ports: every packet would be dropped."""
    calls = ServiceKey(Protocol.SCTP, IPv4Address("10.0.0.100"), 80)
    by_gate, by_masq = (
        RealServer(IPv4Address(real_address(10)), 8080, method)
        for method in (ForwardingMethod.GATE, ForwardingMethod.MASQ)
    )
    engine.apply([AddService(calls, "rr"), AddRealServer(calls, by_gate)])
    with pytest.raises(DataplaneError, match="give it port 80"):
        engine.apply([EditRealServer(calls, by_masq)])
    assert engine.read().services[calls].real_servers == (by_gate,)
