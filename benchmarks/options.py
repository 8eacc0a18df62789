"""What a run is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, for every section."""

    sections: tuple[str, ...] = ()  # none: all
    only: str = ""  # part of a case's name, or a pattern with * and ?
    quick: bool = False  # fewer packets, to see that it works
    write: bool = False

    @property
    def is_whole(self) -> bool:
        """Every case with the full number of packets."""
        return not (self.only or self.quick)

    def wants(self, case: str) -> bool:
        return fnmatch(case.lower(), f"*{self.only.lower()}*")


def parse(argv: Sequence[str], sections: Sequence[str]) -> Options:
    """Ends the process for --help and for mistakes, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What a packet costs. Needs root."
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(sections))
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name has this")
    parser.add_argument("--quick", action="store_true", help="fewer packets, to try it out")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write results/latest.* also after a selection (a whole run does so anyway)",
    )
    given = parser.parse_args(argv)
    for name in given.sections:
        if name not in sections:
            parser.error(f"no section {name}; there are {', '.join(sections)}")
    return Options(tuple(given.sections), given.only, given.quick, given.write)
