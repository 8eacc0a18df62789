"""What the tests with real traffic do to a cluster: serve, wait, upload."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onevip.lab import Cluster
from onevip.lab.cluster import REAL_SERVERS, VIP

TRANSFER = Path(__file__).with_name("transfer.py")
UPLOAD_PORT = 9000
FORWARD = {"gate": "-g", "masq": "-m", "ipip": "-i"}
#: How many times longer to wait than a machine of its own would need: under emulation, say.
PATIENCE = float(os.environ.get("ONEVIP_PATIENCE", "1"))
_numbers = itertools.count(1)


def prefix() -> str:
    """A prefix of this run alone, with its pid: `onevip-t4711-2-`."""
    return f"onevip-t{os.getpid()}-{next(_numbers)}-"


def serve(cluster: Cluster) -> None:
    """Start the daemon; return when both real servers have weight."""
    cluster.write_file()
    cluster.start_daemon()
    wait_for(lambda: weights(cluster) == {"rs1": 2, "rs2": 2}, "weights", cluster)


def kill_daemon(cluster: Cluster) -> None:
    """KILL: it does nothing more."""
    assert cluster.daemon is not None
    os.kill(cluster.daemon.pid, signal.SIGKILL)
    cluster.daemon.wait()


def weights(cluster: Cluster) -> dict[str, int]:
    rows = cluster.rows()
    keys = {name: f"{address}:80" for name, address in REAL_SERVERS.items()}
    return {name: rows[key].weight for name, key in keys.items() if key in rows}


def wait_for(seen: Callable[[], object], what: str, cluster: Cluster, within_s: float = 10) -> None:
    """Poll until it is seen; fails with the daemon's log when it is not."""
    within_s *= PATIENCE
    deadline = time.monotonic() + within_s
    while not seen():
        if time.monotonic() > deadline:
            log = cluster.log.read_text() if cluster.log.exists() else "no log"
            pytest.fail(f"{what}: not after {within_s:g} s; the daemon said:\n{log}")
        time.sleep(0.05)


def add_upload_service(cluster: Cluster) -> list[subprocess.Popen[bytes]]:
    """A second service, made by ipvsadm alone; the real servers' processes for it."""
    sinks = []
    service = f"{VIP}:{UPLOAD_PORT}"
    cluster.onevip("director", "ipvsadm", "-A", "-t", service, "-s", "rr")
    for name, address in REAL_SERVERS.items():
        sink = cluster.host(name).start(
            sys.executable, str(TRANSFER), "sink", str(UPLOAD_PORT), output=subprocess.PIPE
        )
        assert sink.stdout is not None
        assert sink.stdout.readline() == b"ready\n"
        sink.stdout.close()
        sinks.append(sink)
        real = f"{address}:{UPLOAD_PORT}"
        how = FORWARD[cluster.method]
        cluster.onevip("director", "ipvsadm", "-a", "-t", service, "-r", real, how)
    return sinks


def upload(cluster: Cluster, size: int) -> None:
    """Send `size` bytes to the upload service; fails unless the real server has them all."""
    cluster.client.run(sys.executable, str(TRANSFER), "send", VIP, str(UPLOAD_PORT), str(size))


def door_counters(cluster: Cluster) -> dict[str, dict[str, int]]:
    """What the programs counted, by door: `{"tc": {"gate": 36, ...}, "xdp": {...}}`."""
    table = cluster.onevip("director", "attach", "--show").partition("\nPackets ")[2]
    heading, *lines = table.splitlines()
    doors = heading.split()
    counters: dict[str, dict[str, int]] = {door: {} for door in doors}
    for line in lines:
        *words, tc, xdp = line.split()
        if tc.isdigit() and xdp.isdigit():
            for door, number in zip(doors, (tc, xdp), strict=True):
                counters[door][" ".join(words)] = int(number)
    return counters
