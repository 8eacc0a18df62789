"""Connections put into the table without packets, by insert.bpf.c."""

from __future__ import annotations

import os
import struct
from ipaddress import ip_address
from pathlib import Path

from onevip.engines.bpf import libbpf
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.loader import DataPlane
from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Field, Shape, TcpState
from packet.objects import compile_object

ACTIVE, TEMPLATE = 1 << 2, 1 << 11
METHOD_GATE = 3 << 8 | 1 << 10
ESTABLISHED = TcpState.TCP_ESTABLISHED << 4 | ACTIVE | METHOD_GATE
HALF_OPEN = TcpState.TCP_SYN_RECV << 4 | ACTIVE | METHOD_GATE
CLOSING = TcpState.TCP_TIME_WAIT << 4 | METHOD_GATE
OUTCOMES = ("inserted", "exists", "no place", "no lock")

ORDER = Shape("order", 64, {"whole": Field(0, "64s")})
SAID = Shape("outcomes", 32, {"of": Field(0, "=4Q")})


class Inserter:
    """insert.bpf.c over a data plane's maps."""

    def __init__(self, plane: DataPlane, scratch: Path) -> None:
        target = scratch / "insert.bpf.o"
        compile_object(Path(__file__).with_name("insert.bpf.c"), target)
        reused = {path.name: libbpf.get_pinned(path) for path in (plane.path / "maps").iterdir()}
        self._object = libbpf.Object(target, reuse=reused)
        for fd in reused.values():
            os.close(fd)
        maps = self._object.maps
        self._orders = MappedArray(os.dup(maps["orders"]), ORDER, 1)
        self._said = MappedArray(os.dup(maps["outcomes"]), SAID, 1)

    def close(self) -> None:
        self._object.close()

    def _order(
        self, count: int, *, client: str, vip: str, client_port: int, vip_port: int,
        bits: int, first: int, real: int, evicting: bool,
    ) -> None:  # fmt: skip
        whole = struct.pack(
            ">16s16sHHBB2x",
            packed(ip_address(client)), packed(ip_address(vip)), client_port, vip_port,
            6, bool(bits & TEMPLATE),
        )  # fmt: skip
        whole += struct.pack("=QIIII", bits, real, first, count, evicting)
        self._orders.set_bytes(0, "whole", whole)

    def insert(
        self, count: int, *, client: str = "10.0.64.0", vip: str = "10.0.0.100",
        client_port: int = 40000, vip_port: int = 80, bits: int = ESTABLISHED, first: int = 0,
        real: int = 0, evicting: bool = False,
    ) -> dict[str, int]:  # fmt: skip
        """What create() said, how often."""
        self._order(
            count, client=client, vip=vip, client_port=client_port, vip_port=vip_port, bits=bits,
            first=first, real=real, evicting=evicting,
        )  # fmt: skip
        self._said.clear(0)
        done, _, _ = libbpf.run_program(self._object.programs["fill"], bytes(64))
        assert done == count
        said = dict(zip(OUTCOMES, self._said.get_many(0, "of"), strict=True))
        return {what: times for what, times in said.items() if times}

    def found(
        self, count: int, *, client: str = "10.0.64.0", vip: str = "10.0.0.100",
        client_port: int = 40000, vip_port: int = 80, bits: int = ESTABLISHED, first: int = 0,
    ) -> int:  # fmt: skip
        """How many of these a packet would find."""
        self._order(
            count, client=client, vip=vip, client_port=client_port, vip_port=vip_port, bits=bits,
            first=first, real=0, evicting=False,
        )  # fmt: skip
        return libbpf.run_program(self._object.programs["count_found"], bytes(64))[0]
