"""Captures frames with tcpdump and decodes the lines that it prints. Never changes traffic."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onevip.lab.namespace import LabError, Namespace

READY_S = 10.0
SETTLE_S = 0.2

ETHERNET = re.compile(r"(?P<source>[\da-f:]{17}) > (?P<target>[\da-f:]{17}), .*?length \d+: ")
ADDRESSES = re.compile(r"(?P<source>\d+\.\d+\.\d+\.\d+\S*) > (?P<target>\d+\.\d+\.\d+\.\d+[^ :]*):")
FLAGS = re.compile(r"Flags \[(?P<flags>[^]]*)\]")


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame: MACs, and the address pairs outside in (two with an outer header)."""

    line: str
    source_mac: str
    target_mac: str
    headers: tuple[tuple[str, str], ...]
    flags: str  # of TCP, as tcpdump writes them: S, S., P., F.

    @property
    def inner(self) -> tuple[str, str]:
        """Source and target of the innermost IP header, ports included: `10.20.0.1.40000`."""
        return self.headers[-1]

    def __str__(self) -> str:
        addresses = " [".join(f"{source} > {target}" for source, target in self.headers)
        closing = "]" * (len(self.headers) - 1)
        return f"{self.source_mac} > {self.target_mac}  {addresses}{closing}  {self.flags}".rstrip()


def decode(line: str) -> Frame | None:
    """The frame of one line of `tcpdump -e -n`; None when it holds no IPv4."""
    ethernet = ETHERNET.search(line)
    headers = tuple((m["source"], m["target"]) for m in ADDRESSES.finditer(line))
    if ethernet is None or not headers:
        return None
    flags = FLAGS.search(line)
    return Frame(
        line.strip(),
        ethernet["source"],
        ethernet["target"],
        headers,
        flags["flags"] if flags else "",
    )


@contextmanager
def capture(host: Namespace, expression: str, *, device: str = "eth0") -> Iterator[list[Frame]]:
    """The frames that match while the block runs; the list is filled when the block ends."""
    frames: list[Frame] = []
    process = host.start(
        "tcpdump", "-e", "-n", "-l", "-t", "--immediate-mode", "-i", device, expression,
        output=subprocess.PIPE, errors=subprocess.PIPE,
    )  # fmt: skip
    try:
        _wait_until_listening(process)
        yield frames
        time.sleep(SETTLE_S)
    finally:
        process.send_signal(signal.SIGINT)
        output = process.communicate()[0].decode()
    frames.extend(frame for line in output.splitlines() if (frame := decode(line)))


def _wait_until_listening(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    said = []
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and (line := process.stderr.readline().decode()):
        if "listening on" in line:
            return
        said.append(line.strip())
    raise LabError(f"tcpdump does not capture: {' '.join(said)}")
