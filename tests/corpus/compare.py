"""One file of a corpus against what the real ldirectord made of it."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from corpus import structure, table
from corpus.faults import FAULTS
from onevip.command import ldirectord
from onevip.command.environment import Environment
from onevip.config import Reading, World, names, read, world
from onevip.config.safety import decoded

HOST_NAME = "testhost"  # of the machine on which the corpus was recorded
_PLACE = re.compile(r"\[(?:\d+|PID)\] reading file \S+ at")
_PID = re.compile(r"\[(?:\d+|PID)\]")
_NOISE = ("Use of uninitialized", "Odd number", 'Argument "')


class Verdict(NamedTuple):
    """How one file compares. `faults`: why what differs is right to differ."""

    name: str
    differences: tuple[str, ...]
    faults: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if self.differences:
            return f"{self.name}  DIFFERENT: {'; '.join(self.differences)}"
        if self.faults:
            return f"{self.name}  equal but for a fault: {'; '.join(self.faults)}"
        return f"{self.name}  equal"


class Corpus:
    """A directory: config/, malformed/, hosts, expected.json, malformed/expected.json."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.expected: dict[str, Any] = _json(directory / "expected.json")
        self.malformed: dict[str, Any] = _json(directory / "malformed" / "expected.json")
        self.world = World(
            resolve=Hosts(directory / "hosts"),
            port_of=names.port_of,
            why_not_appendable=_why_not_appendable,
            is_directory=lambda _: False,
            own_name=lambda: HOST_NAME,
        )

    def verdicts(self) -> Iterator[Verdict]:
        """One for each recorded file."""
        for name in sorted(self.expected):
            yield self.compared(name)
        for name in sorted(self.malformed):
            yield self.refused(name)

    def read(self, path: Path) -> Reading:
        return read(decoded(path.read_bytes()), str(path), self.world)

    def compared(self, name: str) -> Verdict:
        """A file from the wild: structure, and the table with every server up and down."""
        expected = self.expected[name]
        reading = self.read(self.directory / "config" / name)
        if "error" in expected["parsed"]:
            said = "\n".join(reading.as_ldirectord(0))
            return Verdict(name, tuple(_message(expected["parsed"]["error"], said)))
        if reading.configuration is None:
            return Verdict(name, (f"refused: {reading.errors[0]}",))
        differences, faults = list(_structure(expected["parsed"], reading)), []
        for state in ("up", "down"):
            found = table.rows(table.listed(reading.configuration, up=state == "up"))
            other = found ^ table.rows(expected[state]["table"])
            rows = {table.endpoints(row) for row in other}
            for fault in FAULTS.get((name, state), ()):
                if fault.rows <= rows:
                    rows -= fault.rows
                    faults.append(f"{state}: {fault.why}, {len(fault.rows)} rows")
                else:
                    differences.append(f"{state}: {fault.why} is not to be seen")
            if rows:
                differences.append(
                    f"the table with every server {state}: {', '.join(sorted(rows))}"
                )
        return Verdict(name, tuple(differences), tuple(faults))

    def refused(self, name: str) -> Verdict:
        """A malformed file: messages with their lines, and the exit status of `status`."""
        expected = self.malformed[name]
        path = self.directory / "malformed" / f"{name}.cf"
        if not path.exists():  # the command looks for it
            status, said = _by_command(path.name)
        else:
            reading = self.read(path)
            status = 3 if reading.configuration else 2
            said = "\n".join(reading.as_ldirectord(0))
        differences = list(_message("\n".join(expected["messages"]), said))
        if status != expected["exit"]:
            differences.append(f"exit {status}, not {expected['exit']}")
        return Verdict(name, tuple(differences))


def _by_command(file: str) -> tuple[int, str]:
    """Exit status and messages of `ldirectord FILE status`; the log here is none of its."""
    stderr = io.StringIO()
    environment = Environment(stdout=io.StringIO(), stderr=stderr, log_file=os.devnull)
    return ldirectord.main([file, "status"], environment), stderr.getvalue()


def _why_not_appendable(path: str) -> str:
    """Files of the machine on which the corpus was recorded are not here, and were there."""
    return world.why_not_appendable(path) if path.startswith("/nonexistent/") else ""


class Hosts:
    """A hosts file, and addresses; asks nobody."""

    def __init__(self, file: Path) -> None:
        rows = [line.split() for line in file.read_text().splitlines()]
        self._addresses = {
            (host, ip_address(address).version): ip_address(address)
            for address, *hosts in rows
            for host in hosts
        }

    def __call__(self, host: str, version: int) -> IPv4Address | IPv6Address | None:
        if found := self._addresses.get((host, version)):
            return found
        is_address = re.fullmatch(r"[0-9.]+" if version == 4 else r"[0-9A-Fa-f:.]+", host)
        return names.resolve(host, version) if is_address else None


def _structure(expected: Any, reading: Reading) -> Iterator[str]:
    found = structure.of(reading)
    warned = [_plain_message(text) for text in reading.as_ldirectord(0)]
    if [_plain_message(text) for text in expected["warnings"]] != warned:
        yield f"warnings {warned}"
    for part in ("counts", "globals", "virtual"):
        yield from differences(part, structure.plain(expected[part]), found[part])


def differences(where: str, expected: Any, found: Any) -> Iterator[str]:
    """Each leaf that is not the same."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            yield from differences(f"{where}.{name}", expected.get(name), found.get(name))
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(f"{where}[{index}]", one, other)
    elif expected != found:
        yield f"{where} is {found!r}, not {expected!r}"


def _message(expected: str, said: str) -> Iterator[str]:
    if _plain_message(expected) != _plain_message(said):
        yield f"{_plain_message(said)!r}, not {_plain_message(expected)!r}"


def _plain_message(text: str) -> str:
    """Without process ids, paths, blanks at the ends of lines, and Perl's own complaints."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith(_NOISE)]
    text = _PLACE.sub("[PID] reading file FILE at", "\n".join(lines).rstrip())
    return _PID.sub("[PID]", text)


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found
