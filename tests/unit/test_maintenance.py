"""maintenancedir: files take real servers out at once, by any of their names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from onevip.config import parse
from onevip.daemon.events import Probed, VerdictChanged
from onevip.daemon.maintenance import Maintenance
from onevip.health import Verdict
from onevip.model import Configuration
from unit.test_daemon_director import CF, GOOD, REFUSED, WEB, Desk

ONE, TWO = "10.20.0.11", "10.20.0.12"


def configuration(directory: Path, host: str = "", address: str = ONE) -> Configuration:
    plain = parse(CF, "lb.cf")
    (service,) = plain.services
    one, two = service.real_servers
    one = replace(one, host=host, real=replace(one.real, address=ip_address(address)))
    service = replace(service, real_servers=(one, two))
    return replace(plain, services=(service,), maintenance_dir=str(directory))


def told(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)


def out(maintenance: Maintenance, of: Configuration) -> dict[str, str]:
    return {str(real.address): name for (_, real), name in maintenance.rows(of).items()}


@pytest.mark.parametrize(
    ("file", "host", "address"),
    [
        ("10.20.0.11:80", "", ONE),
        ("10.20.0.11", "", ONE),
        ("web1.example.com:80", "", ONE),
        ("web1.example.com", "", ONE),
        ("web1:80", "", ONE),
        ("web1", "", ONE),
        ("as-written", "as-written", ONE),
        ("as-written:80", "as-written", ONE),
        ("named", "named.example.org", ONE),
        ("[2001:db8::1]:80", "", "2001:db8::1"),
        ("[2001:db8::1]", "", "2001:db8::1"),
    ],
)
def test_a_file_may_have_any_name_of_the_server(tmp_path, file, host, address):
    names = {ONE: "web1.example.com.", TWO: "web2.example.com"}
    of = configuration(tmp_path, host, address)

    async def story() -> None:
        maintenance = Maintenance(lambda asked: names.get(asked, ""))
        await maintenance.look(of)
        assert out(maintenance, of) == {}
        (tmp_path / file).touch()
        await maintenance.look(of)
        await until(lambda: out(maintenance, of))
        assert out(maintenance, of) == {address: file}
        (tmp_path / file).unlink()
        await maintenance.look(of)
        assert out(maintenance, of) == {}
        await maintenance.close()

    told(story)


@pytest.mark.parametrize(
    "file",
    ["10.20.0.11:8080", "10.20.0.1", "web", "web1.example", "Web1", "other:80", "2001:db8::1"],
)
def test_a_file_of_another_name_takes_nobody_out(tmp_path, file):
    of = configuration(tmp_path, "2001.example.com", ONE)
    (tmp_path / file).touch()

    async def story() -> None:
        maintenance = Maintenance(lambda _: "web1.example.com")
        await maintenance.look(of)
        await until(lambda: len(maintenance._names) == 2 or file[0] in "12")
        assert out(maintenance, of) == {}
        await maintenance.close()

    told(story)


def test_a_resolver_that_hangs_holds_up_nothing(tmp_path):
    of = configuration(tmp_path)
    hanging, asked = threading.Event(), threading.Semaphore(0)

    def reverse(address: str) -> str:
        asked.release()
        hanging.wait(10)
        return "web1.example.com" if address == ONE else ""

    async def story() -> None:
        maintenance = Maintenance(reverse)
        (tmp_path / "web1").touch()
        await maintenance.look(of)
        await until(lambda: asked.acquire(blocking=False))
        (tmp_path / TWO).touch()
        await maintenance.look(of)  # while it hangs
        assert out(maintenance, of) == {TWO: TWO}
        hanging.set()
        await until(lambda: len(out(maintenance, of)) == 2)
        await maintenance.close()

    told(story)


def test_names_are_looked_up_only_for_a_file_that_may_be_one_and_believed_for_a_while(tmp_path):
    of = configuration(tmp_path)
    asked: list[str] = []
    now = [0.0]

    async def look(maintenance: Maintenance) -> None:
        await maintenance.look(of)
        await until(lambda: maintenance._looking_up is None or maintenance._looking_up.done())

    async def story() -> None:
        maintenance = Maintenance(lambda a: asked.append(a) or "", clock=lambda: now[0])
        (tmp_path / "10.20.0.99:80").touch()
        await look(maintenance)
        assert asked == []
        (tmp_path / "somebody").touch()
        for _ in range(3):
            await look(maintenance)
        assert sorted(asked) == [ONE, TWO]
        now[0] = 61.0  # a name may have been given to it meanwhile
        await look(maintenance)
        assert len(asked) == 4

    told(story)


def test_a_missing_directory_is_told_once_and_nobody_is_in_maintenance(tmp_path, caplog):
    directory = tmp_path / "maintenance"
    of = configuration(directory)

    async def story() -> None:
        maintenance = Maintenance(lambda _: "")
        for _ in range(3):
            await maintenance.look(of)
        assert out(maintenance, of) == {}
        assert caplog.text.count("nobody is in maintenance") == 1
        directory.mkdir()
        (directory / ONE).touch()
        await maintenance.look(of)
        assert out(maintenance, of) == {ONE: ONE}
        (directory / ONE).unlink()
        directory.rmdir()
        directory.touch()
        await maintenance.look(of)
        assert out(maintenance, of) == {}
        assert "not a directory" in caplog.text

    told(story)


# What the director makes of it.


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "run").start("failurecount=3\n" + CF)
    for address in (ONE, TWO):
        desk.hear(address, GOOD)
    return desk


def maintain(desk: Desk, *addresses: str) -> None:
    rows = {row for row in desk.director.standings.rows() if str(row[1].address) in addresses}
    desk.director.maintain({row: f"{row[1].address}" for row in rows})
    desk.director.converge()


def test_a_server_in_maintenance_is_out_at_once_and_comes_back_by_its_verdict(desk):
    maintain(desk, ONE)
    assert desk.weights() == {ONE: 0, TWO: 2}
    event = next(e for e in reversed(desk.events) if isinstance(e, VerdictChanged))
    assert (event.state.verdict, event.state.reason) == (
        Verdict.DOWN,
        "in maintenance: file 10.20.0.11",
    )
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 0, TWO: 2}
    maintain(desk)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_its_probes_are_told_with_that(desk):
    maintain(desk, ONE)
    desk.events.clear()
    desk.hear(ONE, GOOD)
    desk.hear(TWO, GOOD)
    one, two = (event for event in desk.events if isinstance(event, Probed))
    assert (one.in_maintenance, two.in_maintenance) == (one.rows, ())


def test_without_quiescent_it_leaves_the_table(tmp_path):
    desk = Desk(tmp_path).start(CF.replace("quiescent=yes", "quiescent=no"))
    for address in (ONE, TWO):
        desk.hear(address, GOOD)
    maintain(desk, ONE, TWO)
    assert desk.weights() == {"127.0.0.1": 1}
    maintain(desk, TWO)
    assert desk.weights() == {ONE: 2}


def test_what_its_checks_find_meanwhile_counts_when_it_comes_back(desk):
    maintain(desk, ONE)
    told_before = len(desk.events)
    for _ in range(3):
        desk.hear(ONE, REFUSED)
    maintain(desk)
    assert desk.weights() == {ONE: 0, TWO: 2}
    assert not [e for e in desk.events[told_before:] if isinstance(e, VerdictChanged)]
    desk.hear(ONE, GOOD)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_maintenance_ends_what_was_set_by_hand(desk):
    desk.edit(ONE, weight=7)
    maintain(desk, ONE)
    assert desk.weights() == {ONE: 0, TWO: 2}
    desk.edit(ONE, weight=1)  # a hand's last word
    maintain(desk, ONE)
    assert desk.weights() == {ONE: 1, TWO: 2}
    maintain(desk)
    assert desk.weights() == {ONE: 2, TWO: 2}


def test_it_stays_over_a_reload_and_leaves_with_its_server(desk):
    maintain(desk, ONE)
    desk.use("failurecount=9\n" + CF)  # other checks, all of them unproven
    assert desk.weights() == {ONE: 0, TWO: 2}
    desk.use(CF.replace("    real=10.20.0.11:80 gate 2\n", ""))
    assert desk.weights() == {TWO: 2}
    maintain(desk, ONE)
    assert desk.weights() == {TWO: 2}


def test_with_all_in_maintenance_the_fallback_serves(desk):
    maintain(desk, ONE, TWO)
    assert desk.weights() == {ONE: 0, TWO: 0, "127.0.0.1": 1}
    assert desk.director.standings.fallback_is_on(WEB)
