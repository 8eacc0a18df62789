"""What systemd is told of a daemon: sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket

import pytest

from onevip.daemon.events import Started, Stopped, Stopping
from onevip.daemon.service_manager import ServiceManager
from onevip.model import Configuration

NOTHING = Configuration(file="www.cf", services=())


@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told_when_the_daemon_is_ready_and_when_it_ends(tmp_path, is_abstract):
    name = f"onevip-test-{os.getpid()}"
    path = f"@{name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if is_abstract else path)
        systemd.settimeout(10)
        manager = ServiceManager(path)
        manager.heard(Started(NOTHING))
        manager.heard(Stopping(NOTHING, "TERM"))
        manager.heard(Stopped(NOTHING, clean=True))
        assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


def test_a_manager_that_is_not_there_ends_nothing(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "onevip")
    ServiceManager(str(tmp_path / "nowhere")).heard(Started(NOTHING))
    assert "systemd was not told READY=1" in caplog.text
