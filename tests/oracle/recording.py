"""Sequences recorded from the kernel's IPVS: a file read and checked. Replays nothing.

Each is a service and steps; `after` of a step is [weight, ActiveConn, InActConn] of every real
server, None for one that is not in the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from onevip.model import (
    ForwardingMethod,
    Protocol,
    RealServer,
    RealServerKey,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
)

MARKED = IPv4Network("10.0.128.0/24")  # every packet for it carries the service's mark
PORT = 80
FLAGS = {
    "sh-fallback": SchedulerFlag.FALLBACK,
    "sh-port": SchedulerFlag.PORT,
    "mh-fallback": SchedulerFlag.FALLBACK,
    "mh-port": SchedulerFlag.PORT,
}
OPS = ("open", "close", "weight", "add", "del")
Row = list[int] | None


class MalformedRecording(ValueError):
    """A file that is no recording, and why."""


@dataclass(frozen=True)
class Opening:
    """A connection's client and its destination."""

    client: str
    port: int
    vip: str

    def __str__(self) -> str:
        return f"{self.client}:{self.port} -> {self.vip}:{PORT}"


@dataclass(frozen=True)
class Step:
    """One step. `opening` of an open; `real` of weight, add and del; `got` as the kernel chose."""

    op: str
    connection: int
    opening: Opening | None
    got: int | None
    real: int
    weight: int
    upper: int
    lower: int
    is_abandoned: bool
    after: list[Row]

    def __str__(self) -> str:
        if self.opening is not None:
            return f"open {self.opening}"
        if self.op == "close":
            return f"close {self.connection}"
        return f"{self.op} of real server {self.real}"


@dataclass(frozen=True)
class Recording:
    """A service as it was before the first step, and the steps."""

    service: ServiceKey
    scheduler: str
    options: ServiceOptions
    reals: tuple[RealServerKey, ...]
    first: tuple[Step, ...]  # the additions that made the service
    steps: tuple[Step, ...]

    @property
    def is_random(self) -> bool:
        """The scheduler's choices are drawn: another run makes others."""
        return self.scheduler == "twos"

    def real(self, step: Step) -> RealServer:
        key = self.reals[step.real]
        return RealServer(
            key.address, key.port, ForwardingMethod.MASQ, step.weight, step.upper, step.lower
        )


def read(path: Path) -> Recording:
    """Raises MalformedRecording."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise MalformedRecording(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise MalformedRecording(f"no JSON: {error}") from None
    try:
        return _recording(found)
    except (KeyError, IndexError) as error:
        raise MalformedRecording(f"lacks {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise MalformedRecording(str(error)) from None


def _recording(found: Mapping[str, Any]) -> Recording:
    service = found["service"]
    reals = tuple(_real(text) for text in found["reals"])
    numbered = enumerate(found["steps"])
    steps = tuple(_step(step, f"step {number}", len(reals)) for number, step in numbered)
    if not steps:
        raise ValueError("has no steps")
    opened: set[int] = set()
    for number, step in enumerate(steps):
        if step.op == "open":
            opened.add(step.connection)
        elif step.op == "close" and step.connection not in opened:
            raise ValueError(f"step {number}: closes {step.connection}, which was never opened")
    return Recording(
        _key(found, service),
        service["scheduler"],
        ServiceOptions(_flags(service.get("flags")), int(service.get("persistent") or 0)),
        reals,
        tuple(
            _step({**dest, "op": "add", "after": []}, "service", len(reals))
            for dest in service["dests"]
        ),
        steps,
    )


def _key(found: Mapping[str, Any], service: Mapping[str, Any]) -> ServiceKey:
    if service.get("fwmark"):
        return ServiceKey.of_mark(int(service["fwmark"]))
    return ServiceKey(Protocol.TCP, IPv4Address(found["vip"]), PORT)


def _real(text: str) -> RealServerKey:
    address, _, port = text.rpartition(":")
    return RealServerKey(IPv4Address(address), int(port))


def _flags(text: str | None) -> SchedulerFlag:
    flags = SchedulerFlag.NONE
    for name in (text or "").replace(" ", "").split(","):
        if name and name not in FLAGS:
            raise ValueError(f"unknown scheduler flag {name}")
        flags |= FLAGS.get(name, SchedulerFlag.NONE)
    return flags


def _step(step: Mapping[str, Any], where: str, reals: int) -> Step:
    op = step["op"]
    if op not in OPS:
        raise ValueError(f"{where}: unknown operation {op!r}")
    opening = None
    if op == "open":
        client, vip = (str(IPv4Address(step[name])) for name in ("src", "dst"))
        opening = Opening(client, int(step["sport"]), vip)
        if step["got"] is not None and not 0 <= step["got"] < reals:
            raise ValueError(f"{where}: there is no real server {step['got']}")
    if op in ("weight", "add", "del") and not 0 <= step["rs"] < reals:
        raise ValueError(f"{where}: there is no real server {step['rs']}")
    return Step(
        op=op,
        connection=int(step["id"]) if op in ("open", "close") else -1,
        opening=opening,
        got=step["got"] if op == "open" else None,
        real=int(step.get("rs", -1)),
        weight=int(step["weight"]) if op in ("weight", "add") else 0,
        upper=int(step.get("x") or 0),
        lower=int(step.get("y") or 0),
        is_abandoned="abandoned" in step.get("note", ""),
        after=_rows(step["after"], where, reals) if where != "service" else [],
    )


def _rows(rows: Any, where: str, reals: int) -> list[Row]:
    if len(rows) != reals or any(row is not None and len(row) != 3 for row in rows):
        raise ValueError(f"{where}: `after` is not one row of three for each real server")
    return [None if row is None else [int(number) for number in row] for row in rows]
