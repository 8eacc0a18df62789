"""Sequences recorded from the kernel's IPVS, replayed by the reference: the same choices, the same
weights, ActiveConn and InActConn of every real server after every step.

The recordings are no part of the project: they are read from $ONEVIP_FIXTURES, or from
../shared/fixtures beside the repository.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest

from onevip.model import (
    AddRealServer,
    AddService,
    DeleteRealServer,
    EditRealServer,
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
)
from onevip.reference import Decision, Director, Packet, Verdict

FIXTURES = Path(
    os.environ.get("ONEVIP_FIXTURES") or Path(__file__).parents[3] / "shared" / "fixtures"
)
SCHEDULERS = (
    "dh", "fo", "lblc", "lblcr", "lc", "mh", "mh_mhfallback", "mh_mhport", "nq", "ovf", "rr", "sed",
    "sh", "sh_shfallback", "sh_shport", "sh_shport_shfallback", "twos", "wlc", "wlc_thresholds",
    "wrr", "wrr_persistent",
)  # fmt: skip
RECORDINGS = [f"{name}.{number}" for name in SCHEDULERS for number in (1, 2)]
FLAGS = {
    "sh-fallback": SchedulerFlag.FALLBACK, "mh-fallback": SchedulerFlag.FALLBACK,
    "sh-port": SchedulerFlag.PORT, "mh-port": SchedulerFlag.PORT,
}  # fmt: skip
Row = list[int] | None


class Replay:
    """One recording and the connections that it has open: by id, the step and who it got."""

    def __init__(self, recording: dict[str, Any], director: Director) -> None:
        self.director = director
        self.now = 100.0
        self.reals = [
            RealServerKey(IPv4Address(address), int(port))
            for address, _, port in (text.rpartition(":") for text in recording["reals"])
        ]
        service = recording["service"]
        self.mark = service.get("fwmark", 0)
        vip = IPv4Address(recording["vip"])
        self.service = (
            ServiceKey.of_mark(self.mark) if self.mark else ServiceKey(Protocol.TCP, vip, 80)
        )
        flags = SchedulerFlag.NONE
        for word in filter(None, service.get("flags", "").split(",")):
            flags |= FLAGS[word]
        options = ServiceOptions(flags, service.get("persistent", 0))
        director.apply([AddService(self.service, service["scheduler"], options)], self.now)
        for real in service["dests"]:
            director.apply([AddRealServer(self.service, self.real(real))], self.now)
        self.opened: dict[int, tuple[dict[str, Any], RealServerKey | None]] = {}

    def real(self, step: dict[str, Any]) -> RealServer:
        key = self.reals[step["rs"]]
        return RealServer(
            key.address, key.port, ForwardingMethod.MASQ, step["weight"], step.get("x", 0),
            step.get("y", 0),
        )  # fmt: skip

    def step(self, step: dict[str, Any]) -> int | None:
        """Does it; the number of the real server that an open connection got, else None."""
        self.now += 0.001
        match step["op"]:
            case "open":
                return self.open(step)
            case "close":
                self.close(step)
            case "weight":
                self.director.apply([EditRealServer(self.service, self.real(step))], self.now)
            case "add":
                self.director.apply([AddRealServer(self.service, self.real(step))], self.now)
            case "del":
                gone = DeleteRealServer(self.service, self.reals[step["rs"]])
                self.director.apply([gone], self.now)
        return None

    def open(self, step: dict[str, Any]) -> int | None:
        decision = self.client(step, "S")
        real = decision.real_server
        self.opened[step["id"]] = step, real
        if real is None:
            assert decision.verdict is Verdict.REFUSE
            return None
        self.server(step, real, "SA")
        self.client(step, "A")
        return self.reals.index(real)

    def close(self, step: dict[str, Any]) -> None:
        opened, real = self.opened[step["id"]]
        if "abandoned" in step.get("note", "") or real is None:
            return
        if self.client(opened, "FA").verdict is Verdict.DROP:
            return  # who drew it was deleted meanwhile
        self.server(opened, real, "FA")
        self.client(opened, "A")

    def client(self, step: dict[str, Any], flags: str) -> Decision:
        source, vip = IPv4Address(step["src"]), IPv4Address(step["dst"])
        packet = Packet(source, step["sport"], vip, 80, Protocol.TCP, flags, mark=self.mark)
        return self.director.receive(packet, self.now)

    def server(self, step: dict[str, Any], real: RealServerKey, flags: str) -> None:
        client = IPv4Address(step["src"])
        packet = Packet(real.address, real.port, client, step["sport"], Protocol.TCP, flags)
        decision = self.director.receive(packet, self.now)
        assert (decision.verdict, decision.real_port) == (Verdict.REPLY, 80)

    def throw_for(self, number: int) -> int:
        """What twos' dice must show for this real server: the weights up to it in list order."""
        service = self.director.table().get(self.service)
        assert service is not None
        throw = 0
        for real in reversed(service.real_servers):
            throw += real.weight
            if real.key == self.reals[number]:
                return throw
        pytest.fail(f"real server {number} is not in the service")

    def rows(self) -> list[Row]:
        """Weight, ActiveConn, InActConn; None for what is not in the service."""
        service = self.director.table().get(self.service)
        assert service is not None
        counters = self.director.counters()
        rows: list[Row] = []
        for key in self.reals:
            real = service.real_server(key)
            if real is None:
                rows.append(None)
            else:
                found = counters[self.service, key]
                rows.append([real.weight, found.active, found.inactive])
        return rows


def recording(name: str) -> dict[str, Any]:
    path = FIXTURES / "oracle" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recordings of the kernel's IPVS at {FIXTURES}: set ONEVIP_FIXTURES")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("name", [name for name in RECORDINGS if not name.startswith("twos")])
def test_a_recording_of_the_kernel(name: str) -> None:
    recorded = recording(name)
    replay = Replay(recorded, Director())
    for number, step in enumerate(recorded["steps"]):
        assert replay.step(step) == step.get("got"), f"step {number}: {step}"
        assert replay.rows() == step["after"], f"step {number}: {step}"


RANDOM = ("twos.1", "twos.2")


@pytest.mark.parametrize("name", RANDOM)
def test_counts_of_a_recording_whose_choices_were_drawn(name: str) -> None:
    """The dice are led to whom the kernel chose: who was eligible, and everybody's counts."""
    recorded = recording(name)
    throws: list[int] = []
    replay = Replay(recorded, Director(lambda sides: throws.pop() % sides))
    for number, step in enumerate(recorded["steps"]):
        if step.get("got") is not None:
            throws = [replay.throw_for(step["got"])] * 2
        assert replay.step(step) == step.get("got"), f"step {number}: {step}"
        assert replay.rows() == step["after"], f"step {number}: {step}"


@pytest.mark.parametrize("name", RANDOM)
def test_the_kernels_draws_have_the_shares_of_ours(name: str) -> None:
    """How often the kernel chose each real server lies within four standard deviations of ours."""
    recorded = recording(name)
    ours: list[Counter[int | None]] = []
    for seed in range(60):
        replay = Replay(recorded, Director(Random(seed).randrange))
        ours.append(Counter(replay.step(step) for step in recorded["steps"]))
    theirs = Counter(step.get("got") for step in recorded["steps"])
    for real in range(len(recorded["reals"])):
        chosen = [one[real] for one in ours]
        apart = abs(theirs[real] - mean(chosen))
        assert apart <= 4 * stdev(chosen) + 0.5, (real, theirs[real], mean(chosen))
