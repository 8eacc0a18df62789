"""The worker process of `matcher`: reads pattern and body, answers 1 or 0, until its input ends.

Run as a file: needs nothing of the package, so that it starts fast.
"""

from __future__ import annotations

import re
import signal
import struct
import sys

HEADER = struct.Struct("!II")


def main(cpu_limit_s: float) -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(HEADER.size)) == HEADER.size:
        pattern_length, body_length = HEADER.unpack(header)
        pattern, body = source.read(pattern_length), source.read(body_length)
        # CPU time, so that a loaded machine makes no pattern slow. SIGVTALRM's default action
        # ends the process even inside one long search.
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_limit_s)
        found = re.search(pattern, body) is not None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sink.write(b"1" if found else b"0")
        sink.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]))
