"""`python -m corpus [DIR]`: does onevip read files as the real ldirectord does?

Replays a directory of recordings, one line a file. Exit status 0 when all were equal, but for
faults of the real program that are named; 1 when not, 2 when there is no such directory.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from corpus.compare import Corpus

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "ldirectord"
OWN = Path(__file__).with_name("own")


def main(argv: Sequence[str]) -> int:
    directory = Path(argv[0]) if argv else BESIDE if BESIDE.is_dir() else OWN
    if not (directory / "expected.json").is_file():
        print(
            f"no configurations and expected.json at {directory}: make corpus FIXTURES=DIR",
            file=sys.stderr,
        )
        return 2
    verdicts = []
    for verdict in Corpus(directory).verdicts():
        print(verdict, flush=True)
        verdicts.append(verdict)
    equal = sum(verdict.is_equal for verdict in verdicts)
    faults = sum(verdict.is_equal and bool(verdict.faults) for verdict in verdicts)
    if faults:
        print(f"{faults} but for a fault of the real program that is not repeated")
    print(f"{equal} of {len(verdicts)} equal")
    return 0 if verdicts and equal == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
