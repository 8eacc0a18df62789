"""monitorfile: the form of its lines, and files that cannot be written."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from happenings import MARK, ONE, TWO, WEB, configuration, configured, probed
from onevip.daemon import background
from onevip.daemon.events import Probed
from onevip.daemon.monitor import Files, Line, MonitorFiles, line
from onevip.model import Outcome

UP, DOWN = Outcome(True, "status 200"), Outcome(False, "connection refused")
NOW = 1_795_363_577.0


def written(events: Iterable[Probed]) -> None:
    async def life() -> None:
        monitor = MonitorFiles(clock=lambda: NOW)
        for event in events:
            monitor.heard(event)
        await monitor.close()

    asyncio.run(life())


def test_a_line_has_ldirectords_form(tmp_path):
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))
    written([probed(ONE, UP, conf), probed(ONE, DOWN, conf)])
    name = "negotiate http tcp 10.0.0.1 80 2 masq / "
    head = f"[{time.ctime(NOW)}] [{os.getpid()}] {name} "
    assert file.read_text() == f"{head}[up] status 200\n{head}[down] connection refused\n"
    assert re.match(
        r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}] ", file.read_text()
    )


def test_a_server_in_maintenance_is_down_whatever_its_probe_found(tmp_path):
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))
    up = probed(ONE, UP, conf)
    written([replace(up, in_maintenance=up.rows), up])
    found = [line.partition(" / ")[2] for line in file.read_text().splitlines()]
    assert found == [" [down] Server in maintenance", " [up] status 200"]


def test_a_probe_that_could_not_be_made_says_nothing_of_the_server(tmp_path):
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))
    untried = Outcome(False, "the director is out of file descriptors", tried=False)
    written([probed(ONE, untried, conf), probed(ONE, UP, conf)])
    assert [line.partition(" / ")[2] for line in file.read_text().splitlines()] == [
        " [up] status 200"
    ]


def test_who_could_not_be_tried_is_called_neither_up_nor_down(tmp_path):
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))
    untried = Outcome(False, "the director is out of file descriptors", tried=False)
    written([probed(ONE, UP, conf), probed(ONE, untried, conf)])
    assert file.read_text().count("\n") == 1
    assert "[down]" not in file.read_text()


def test_real_ids_stand_in_it_without_colons_and_backslashes(tmp_path):
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))
    (server,) = conf.services[0].real_servers
    odd = replace(server.check, receive=r"b:c|x\d", virtualhost="www.example.org", port=81)
    service = replace(conf.services[0], real_servers=(replace(server, check=odd),))
    event = probed(ONE, UP, replace(conf, services=(service,)))
    written([event])
    assert (
        "] negotiate http tcp 10.0.0.1 80 www.example.org 81 2 masq / b c|xd [up]"
        in file.read_text()
    )


def test_every_service_of_a_check_has_its_own_file_and_line(tmp_path):
    conf = configuration(
        configured(WEB, ONE, monitor_file=str(tmp_path / "web")),
        configured(MARK, replace(ONE, weight=5), monitor_file=str(tmp_path / "mark")),
    )
    rows = ((WEB, ONE.key), (MARK, ONE.key))
    written([replace(probed(ONE, UP, conf), rows=rows)])
    assert " tcp 10.0.0.1 80 2 masq " in (tmp_path / "web").read_text()
    assert " fwm 10.0.0.1 80 5 masq " in (tmp_path / "mark").read_text()


def test_without_monitorfile_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written([probed(ONE, UP, configuration())])
    assert list(tmp_path.iterdir()) == []


def test_after_a_reload_the_new_configuration_counts(tmp_path):
    first = configuration(configured(WEB, ONE, monitor_file=str(tmp_path / "first")))
    second = configuration(configured(WEB, ONE, monitor_file=str(tmp_path / "second")))
    written([probed(ONE, UP, first), probed(ONE, UP, second), probed(TWO, UP, second)])
    assert [(tmp_path / name).read_text().count("\n") for name in ("first", "second")] == [1, 1]


@pytest.mark.parametrize(
    ("reason", "message"),
    [("", "-"), ("50% | a\r\nb", "50%25 %7c a%0d%0ab"), ("status 200", "status 200")],
)
def test_messages_cannot_break_a_line(reason, message):
    assert line(NOW, "ID", Outcome(True, reason)).endswith(f" ID [up] {message}\n")


def test_a_name_cannot_break_a_line(tmp_path):
    file = tmp_path / "monitor"
    service = configured(WEB, ONE, monitor_file=str(file))
    (server,) = service.real_servers
    odd = replace(server.check, receive="a\nb\u2028c\x1b[2J")
    service = replace(service, real_servers=(replace(server, check=odd),))
    written([probed(ONE, UP, configuration(service))])
    assert file.read_text().count("\n") == 1
    assert file.read_text().rstrip("\n").isprintable()


def lines(file: Path, *texts: str) -> list[Line]:
    return [Line(str(file), f"{text}\n") for text in texts]


def test_a_file_that_is_rotated_away_begins_anew(tmp_path):
    files, file = Files(), tmp_path / "monitor"
    files.append(lines(file, "one", "two"))
    file.rename(tmp_path / "monitor.1")
    files.append(lines(file, "three"))
    assert (tmp_path / "monitor.1").read_text() == "one\ntwo\n"
    assert file.read_text() == "three\n"


def test_a_file_that_cannot_be_written_is_told_of_once_and_when_it_can_again(tmp_path, caplog):
    caplog.set_level(logging.INFO, "onevip")
    files, file = Files(), tmp_path / "later" / "monitor"
    for _ in range(3):
        files.append([*lines(file, "lost"), *lines(tmp_path / "good", "kept")])
    assert caplog.messages == [
        f"monitorfile {file} cannot be written, its lines are lost: no such file or directory"
    ]
    file.parent.mkdir()
    files.append(lines(file, "here"))
    assert caplog.messages[1:] == [f"monitorfile {file} is written again, 3 lines were lost"]
    assert file.read_text() == "here\n"
    assert (tmp_path / "good").read_text() == "kept\n" * 3


def test_a_full_disk_ends_nothing(caplog):
    files = Files()
    for _ in range(2):
        files.append(lines(Path("/dev/full"), "lost"))
    assert [message.rpartition(": ")[2] for message in caplog.messages] == [
        "no space left on device"
    ]


def test_half_a_line_is_not_continued_by_the_next_one(tmp_path, monkeypatch):
    files, file = Files(), tmp_path / "monitor"
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    files.append(lines(file, "begun"))
    monkeypatch.undo()
    files.append(lines(file, "next"))
    assert file.read_text() == "beg\nnext\n"


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path, caplog):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    Files().append(lines(pipe, "lost"))
    assert len(caplog.messages) == 1


def test_a_disk_that_hangs_holds_up_nobody(tmp_path, monkeypatch):
    """The thread waits for it; the loop does not, and the end only for a moment."""
    monkeypatch.setattr(background, "PATIENCE_S", 0.01)
    monkeypatch.setattr(background, "MAX_WAITING", 3)
    begun, freed = threading.Event(), threading.Event()

    def hangs(*_: object) -> None:
        begun.set()
        freed.wait(20)

    monkeypatch.setattr(Files, "append", hangs)
    conf = configuration(configured(WEB, ONE, monitor_file=str(tmp_path / "monitor")))

    async def life() -> None:
        monitor = MonitorFiles()
        monitor.heard(probed(ONE, UP, conf))
        assert begun.wait(10)
        for _ in range(10):
            monitor.heard(probed(ONE, UP, conf))
        await monitor.close()

    asyncio.run(life())
    freed.set()


def test_lines_that_are_lost_because_a_file_hangs_are_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(background, "MAX_WAITING", 1)
    let_go, begun = threading.Event(), threading.Event()

    def hang(_files: Files, _lines: list[Line]) -> None:
        begun.set()
        let_go.wait(10)

    monkeypatch.setattr(Files, "append", hang)
    file = tmp_path / "monitor"
    conf = configuration(configured(WEB, ONE, monitor_file=str(file)))

    async def life() -> None:
        monitor = MonitorFiles(clock=lambda: NOW)
        monitor.heard(probed(ONE, UP, conf))
        assert begun.wait(10)
        for _ in range(4):
            monitor.heard(probed(ONE, UP, conf))
        let_go.set()
        await monitor.close()

    asyncio.run(life())
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"monitorfile {file} hangs: lines of monitor files are lost"]
