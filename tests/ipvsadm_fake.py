"""ipvsadm run against a table in memory. For tests only."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from onevip.command.environment import Environment
from onevip.command.ipvsadm import main
from onevip.engines.memory import MemoryEngine


@dataclass
class Ipvsadm:
    """`ipvsadm("-Ln")` returns what it printed on both streams and its exit status."""

    engine: MemoryEngine = field(default_factory=MemoryEngine)

    def __call__(self, command_line: str) -> tuple[str, int]:
        printed = io.StringIO()
        environment = Environment(stdout=printed, stderr=printed, engine=lambda: self.engine)
        status = main(command_line.split(), environment)
        return printed.getvalue(), status
