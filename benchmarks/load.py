"""wrk: what it is asked for and what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
DONE = re.compile(r"^ +(\d+) requests in [\d.]+\w+, ([\d.]+)([KMGT]?B) read$", re.MULTILINE)
WRONG = re.compile(r"^.*(?:Socket errors|Non-2xx|unable to).*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What one or several wrk have done. Bytes are rounded to three digits by wrk."""

    requests: int
    read_bytes: float
    errors: tuple[str, ...] = ()

    def __add__(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests,
            self.read_bytes + other.read_bytes,
            self.errors + other.errors,
        )


def parse(report: str) -> Load:
    """Of wrk's report. Without a line on requests that is an error too."""
    errors = tuple(line.strip() for line in WRONG.findall(report))
    done = DONE.search(report)
    if done is None:
        return Load(0, 0, errors or (f"wrk counted nothing: {report.strip() or 'no report'}",))
    return Load(int(done[1]), float(done[2]) * UNITS[done[3]], errors)


def command(url: str, seconds: int, connections: int, *, is_closing: bool) -> list[str]:
    header = ["-H", "Connection: close"] if is_closing else []
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *header, url]
