"""One recording of each kind as real connections: TCP sockets through a director that `ipvsadm`
set up, to real servers that say who they are; after each step what `ipvsadm -Ln` shows.

tests/packet/test_oracle.py replays all recordings packet by packet; here nothing is a test run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from netns.clusters import prefix
from netns.six_servers import WITHIN_S, SixServers, inside
from onevip.command import attach, ipvsadm
from onevip.command.environment import Environment
from onevip.lab.cluster import rows_of
from onevip.model import (
    AddRealServer,
    AddService,
    Change,
    DataplaneError,
    DeleteRealServer,
    EditRealServer,
    RealServer,
    SchedulerFlag,
    ServiceKey,
)
from oracle.recording import Opening, read
from oracle.replay import Rows, replayed

FIXTURES = Path(
    os.environ.get("ONEVIP_FIXTURES") or Path(__file__).parents[3] / "shared" / "fixtures"
)
NAMES = (
    "dh", "fo", "lblc", "lblcr", "lc", "mh", "mh_mhfallback", "mh_mhport", "nq", "ovf", "rr",
    "sed", "sh", "sh_shfallback", "sh_shport", "sh_shport_shfallback", "twos", "wlc",
    "wlc_thresholds", "wrr", "wrr_persistent",
)  # fmt: skip
FLAGS = {SchedulerFlag.FALLBACK: "fallback", SchedulerFlag.PORT: "port"}


@pytest.fixture(scope="module")
def servers() -> Iterator[SixServers]:
    with SixServers(prefix()) as built:
        built.wait_for_neighbours()
        built.mark()
        yield built
        unload(built)


def unload(servers: SixServers) -> None:
    """No table, and no connection that a real server would come back to."""
    with inside(servers.director):
        attach.detach_main(["--unload"])


class Sockets:
    """A replay's way by real connections; the table by `ipvsadm` alone."""

    def __init__(self, servers: SixServers) -> None:
        self._servers = servers

    def apply(self, change: Change) -> None:
        self._ipvsadm(*arguments(change))

    def _ipvsadm(self, *argv: str) -> str:
        environment = Environment(stdout=StringIO(), stderr=StringIO())
        with inside(self._servers.director):
            status = ipvsadm.main(list(argv), environment)
        if status:
            said = environment.stderr.getvalue().strip()  # type: ignore[attr-defined]
            raise DataplaneError(f"ipvsadm {' '.join(argv)}", said)
        return environment.stdout.getvalue()  # type: ignore[attr-defined]

    def rows(self, wanted: Rows) -> Rows:
        """The last ACK may still be on its way."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            listed = rows_of(self._ipvsadm("-L", "-n")).items()
            rows = {
                real.rpartition(":")[0]: [row.weight, row.active, row.inactive]
                for real, row in listed
            }
            if rows == wanted or time.monotonic() > deadline:
                return rows
            time.sleep(0.001)

    def connect(self, opening: Opening) -> str | None:
        return self._servers.connect(opening)

    def disconnect(self, opening: Opening, address: str) -> None:
        self._servers.disconnect(opening)


def arguments(change: Change) -> list[str]:
    """As an administrator types it."""
    match change:
        case AddService(service, scheduler, options):
            given = ["-A", *named(service), "-s", scheduler]
            flags = [name for flag, name in FLAGS.items() if options.flags & flag]
            if flags:
                given += ["-b", ",".join(f"{scheduler}-{name}" for name in flags)]
            return given + (["-p", str(options.persistent_s)] if options.persistent_s else [])
        case AddRealServer(service, real):
            return ["-a", *named(service), *described(real)]
        case EditRealServer(service, real):
            return ["-e", *named(service), *described(real)]
        case DeleteRealServer(service, key):
            return ["-d", *named(service), "-r", str(key)]
    raise AssertionError(change)


def named(service: ServiceKey) -> list[str]:
    if service.mark:
        return ["-f", str(service.mark)]
    return ["-t", f"{service.address}:{service.port}"]


def described(real: RealServer) -> list[str]:
    thresholds = ["-x", str(real.upper_threshold), "-y", str(real.lower_threshold)]
    given = ["-r", str(real.key), "-m", "-w", str(real.weight)]
    return given + (thresholds if real.upper_threshold else [])


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_as_real_connections(servers: SixServers, name: str) -> None:
    path = FIXTURES / "oracle" / f"{name}.1.json"
    if not path.exists():
        pytest.skip(f"no recordings of the kernel's IPVS at {FIXTURES}: set ONEVIP_FIXTURES")
    servers.reset()
    unload(servers)
    try:
        replayed(Sockets(servers), read(path), further=100)
    finally:
        servers.reset()
