"""`python -m benchmarks [section …]`: measure, print, keep. 1 when something was no result."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import chart, report, results
from benchmarks.options import Options, parse
from benchmarks.results import Measured, Surroundings
from benchmarks.sections import SECTIONS, BenchmarkError, Incomplete, section
from onevip.model import OnevipError


def main(argv: Sequence[str]) -> int:
    options = parse(argv, tuple(SECTIONS))
    failed = False
    for name in options.sections or SECTIONS:
        print(f"== {name}")
        try:
            found = section(name)(options)
        except Incomplete as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed, found = True, error.results
        except (BenchmarkError, OnevipError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        print(report.table(found, name))
        if options.is_whole or options.write:
            keep(name, [Measured(name, one, Surroundings.now()) for one in found], options)
    return int(failed)


def keep(name: str, new: Sequence[Measured], options: Options) -> None:
    """Into results/latest.json, and the picture of it."""
    measured = results.merged(results.load(), name, new, is_whole=options.is_whole)
    measured.sort(key=lambda one: list(SECTIONS).index(one.section))
    results.save(measured)
    results.PICTURE.write_text(chart.draw(measured))
    print(f"written: {results.LATEST.parent}/{results.LATEST.stem}.{{json,svg}}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
