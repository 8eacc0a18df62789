"""Where ldirectord's log goes, and in which form."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from dataclasses import replace

import pytest

from onevip.daemon import log
from onevip.daemon.log_destinations import Debugging, LogFile, Supervised, of_configuration
from onevip.daemon.syslog import Syslog
from onevip.model import Configuration

LOGGER = logging.getLogger("onevip.daemon")
PID = os.getpid()
NOTHING = Configuration(file="www.cf", services=())


@pytest.fixture
def record(monkeypatch):
    """A sentence said on the 22nd of November 2026, 16:26:17 o'clock."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def make(message: str, level: int = logging.INFO) -> logging.LogRecord:
        record = logging.makeLogRecord({"msg": message, "levelno": level})
        record.created = 1795364777.0
        return record

    yield make
    monkeypatch.undo()
    time.tzset()


def test_a_file_has_the_date_the_configuration_and_the_process(record, tmp_path):
    file = LogFile(str(tmp_path / "log"), "www.cf")
    assert (
        file.lines(record("Added virtual server: 10.0.0.1:80"))
        == f"[Sun Nov 22 16:26:17 2026|www.cf|{PID}] Added virtual server: 10.0.0.1:80\n"
    )


def test_a_day_of_one_digit_is_padded(record, tmp_path):
    first = record("a")
    first.created -= 21 * 24 * 3600
    assert LogFile("/log", "c").lines(first).startswith("[Sun Nov  1 16:26:17 2026|c|")
    assert Syslog("local0", "/dev/log").lines(first).startswith("<134>Nov  1 16:26:17 ldirectord[")


def test_a_warning_says_so(record):
    assert LogFile("/log", "c").lines(record("b", logging.WARNING)).endswith("] warning: b\n")


def test_a_rotated_file_is_begun_anew(tmp_path):
    """Without a signal, without a line lost."""
    path = tmp_path / "log"
    file = LogFile(str(path), "www.cf")
    with log.through(file):
        LOGGER.info("one")
    path.rename(tmp_path / "log.1")
    with log.through(file) as writer:
        LOGGER.info("two")
        writer.use(LogFile(str(tmp_path / "other"), "www.cf"))
        LOGGER.info("three")
    assert [len((tmp_path / n).read_text().splitlines()) for n in ("log", "log.1", "other")] == [
        1, 1, 1,
    ]  # fmt: skip
    assert path.read_text().endswith("] two\n")


def test_lines_lost_while_a_file_cannot_be_opened_are_counted(tmp_path):
    directory = tmp_path / "gone"
    with log.through(LogFile(str(directory / "log"), "www.cf")) as writer:
        LOGGER.info("one")
        LOGGER.info("two")
        writer.use(LogFile(str(tmp_path / "log"), "www.cf"))
        LOGGER.info("three")
    said = [line.partition("] ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == ["three", "warning: 2 log lines were lost: they could not be written"]


def test_supervised_has_the_date_alone(record):
    stdout = io.StringIO()
    Supervised(stdout).write(Supervised(stdout).lines(record("up")))
    assert stdout.getvalue() == "[Sun Nov 22 16:26:17 2026] up\n"


def test_debugging_says_each_sentence_twice_and_debugging_lines_once(record):
    debugging = Debugging(io.StringIO())
    assert debugging.lines(record("up")) == "DEBUG2: up\nup\n"
    assert debugging.lines(record("DEBUG2: down", logging.DEBUG)) == "DEBUG2: down\n"


def test_syslog_has_facility_ident_and_process(record, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        syslog = Syslog("local3", str(tmp_path / "log"))
        syslog.write(syslog.lines(record("up")))
        local3_info = 19 << 3 | 6
        assert daemon.recv(1000) == (
            f"<{local3_info}>Nov 22 16:26:17 ldirectord[{PID}]: up".encode()
        )


def test_a_syslog_daemon_that_was_started_again_is_found(record, tmp_path):
    syslog = Syslog("daemon", str(tmp_path / "log"))
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(tmp_path / "log"))
            syslog.write("<30>up\n")
            assert daemon.recv(1000) == b"<30>up"
        (tmp_path / "log").unlink()
    with pytest.raises(OSError, match="No such file"):
        syslog.write("<30>up\n")


def test_an_unknown_facility_is_daemon(record):
    assert Syslog("nonsense", "/dev/log").lines(record("up")).startswith("<30>")


def test_the_configuration_says_where(tmp_path):
    def kind(**fields: object) -> type:
        return type(of_configuration(replace(NOTHING, **fields), "www.cf", io.StringIO()))

    assert kind() is LogFile
    assert kind(log_file="local0") is Syslog
    assert kind(log_file="local0", supervised=True) is Supervised
