"""Sequences recorded from the kernel's IPVS, replayed packet by packet: the same choices, the
same ActiveConn and InActConn of every real server after every step.

The recordings are no part of the project: they are read from $ONEVIP_FIXTURES, or from
../shared/fixtures beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP

from onevip.model import SchedulerFlag
from packet.wire import MASQ, Director, eth, eth_back, ip4, tcp

FIXTURES = Path(
    os.environ.get("ONEVIP_FIXTURES") or Path(__file__).parents[3] / "shared" / "fixtures"
)
NAMES = (
    "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf",
    "sh", "sh_shport", "sh_shfallback", "sh_shport_shfallback", "mh", "mh_mhport", "mh_mhfallback",
)  # fmt: skip
RECORDINGS = [f"{name}.{nr}" for name in NAMES for nr in (1, 2)]
FLAGS = {"port": SchedulerFlag.PORT, "fallback": SchedulerFlag.FALLBACK}


class Replay:
    """One recording and the connections that it has open."""

    def __init__(self, director: Director, recording: dict[str, Any]) -> None:
        self.director = director
        self.addresses = [text.rpartition(":")[0] for text in recording["reals"]]
        self.opened: dict[int, dict[str, Any]] = {}
        service = recording["service"]
        flags = SchedulerFlag.NONE
        for word in filter(None, service.get("flags", "").split(",")):
            flags |= FLAGS[word.partition("-")[2]]
        director.add_service(service["scheduler"], flags=flags)
        for real in service["dests"]:
            self.add(real)

    def step(self, step: dict[str, Any]) -> Any:
        """Does it; what an open connection got, else None."""
        do = {"open": self.open, "close": self.close, "weight": self.weight, "add": self.add,
              "del": self.delete}  # fmt: skip
        return do[step["op"]](step)

    def open(self, step: dict[str, Any]) -> int | None:
        self.opened[step["id"]] = step
        out = self.client(step, "S")
        if out.haslayer(ICMP) or out[IP].dst not in self.addresses:
            return None
        self.server(step, "SA")
        self.client(step, "A")
        return self.addresses.index(out[IP].dst)

    def close(self, step: dict[str, Any]) -> None:
        if "abandoned" in step.get("note", ""):
            return
        opened = self.opened[step["id"]]
        if opened["got"] is None:  # it was refused
            return
        self.client(opened, "FA")
        self.server(opened, "FA")
        self.client(opened, "A")

    def client(self, step: dict[str, Any], flags: str) -> Any:
        packet = eth() / ip4(step["src"], step["dst"]) / tcp(step["sport"], 80, flags)
        return self.director(packet).packet

    def server(self, step: dict[str, Any], flags: str) -> None:
        real = self.addresses[step["got"]]
        packet = eth_back(real) / ip4(real, step["src"]) / tcp(80, step["sport"], flags)
        assert self.director(packet).packet[IP].src == step["dst"]

    def weight(self, step: dict[str, Any]) -> None:
        self.director.edit(self.addresses[step["rs"]], MASQ, weight=step["weight"])

    def add(self, step: dict[str, Any]) -> None:
        self.director.add(self.addresses[step["rs"]], MASQ, weight=step["weight"])

    def delete(self, step: dict[str, Any]) -> None:
        self.director.delete(self.addresses[step["rs"]])

    def rows(self) -> list[list[int] | None]:
        """Weight, ActiveConn, InActConn; None for what is not in the service."""
        rows = self.director.rows()
        return [rows.get(address) for address in self.addresses]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_of_the_kernel(director: Director, name: str) -> None:
    path = FIXTURES / "oracle" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no recordings of the kernel's IPVS at {FIXTURES}: set ONEVIP_FIXTURES")
    recording = json.loads(path.read_text())
    replay = Replay(director, recording)
    for number, step in enumerate(recording["steps"]):
        got = replay.step(step)
        assert got == step.get("got"), f"step {number}: {step}"
        assert replay.rows() == step["after"], f"step {number}: {step}"
