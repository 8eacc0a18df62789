"""`python -m oracle [--door tc|xdp] [DIR]`: are our choices and counters those of the kernel?

Replays every *.json of a directory of recordings, one line a file; steps count from 0, as in the
file. Exit status 0 when all were equal, 1 when not, 2 when there is no directory. Runs in a network
namespace of its own, which is gone afterwards.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onevip.engines.bpf import BpfEngine, loader, pins
from onevip.lab.cluster import uninterrupted
from onevip.model import OnevipError
from oracle.packets import Packets
from oracle.recording import MalformedRecording, read
from oracle.replay import Difference, replayed
from packet.network import director_namespace
from packet.wire import Director

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "oracle"
INTERRUPTED = 130
_interruptions: list[int] = []


def _interrupt(number: int, *_: object) -> None:
    """Noted, and seen before the next file: no clean-up is ever torn apart."""
    _interruptions.append(number)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="oracle", description=__doc__)
    parser.add_argument("--door", choices=("tc", "xdp"), default="tc")
    parser.add_argument("directory", nargs="?", type=Path)
    options = parser.parse_args(argv)
    directory = options.directory or BESIDE
    if not directory.is_dir():
        print(
            f"no recordings of the kernel's IPVS at {directory}: make oracle FIXTURES=DIR",
            file=sys.stderr,
        )
        return 2
    if os.geteuid():
        print(
            "packets need CAP_BPF and a network namespace: run make oracle as root", file=sys.stderr
        )
        return 2
    paths = sorted(directory.glob("*.json"))
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    equal = 0
    try:
        with _director(options.door) as director:
            for path in paths:
                if _interruptions:
                    return INTERRUPTED
                equal += _is_equal(director, path)
    except (OnevipError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)  # Ctrl-C reaches the programs that we run, too
        return INTERRUPTED if _interruptions else 1
    print(f"{equal} of {len(paths)} equal")
    return 0 if paths and equal == len(paths) else 1


@contextmanager
def _director(door: str) -> Iterator[Director]:
    with director_namespace():
        engine = BpfEngine()
        try:
            with pins.writer_lock() as base:
                plane = loader.load(base)
                loader.enable_lookups()
            yield Director(engine, plane, door)
        finally:
            with uninterrupted():
                engine.unload()


def _is_equal(director: Director, path: Path) -> bool:
    director.forget()
    try:
        print(f"{path.name}  equal, {replayed(Packets(director), read(path))}", flush=True)
    except MalformedRecording as error:
        print(f"{path.name}  DIFFERENT: {error}", flush=True)
    except Difference as error:
        print(f"{path.name}  DIFFERENT {error}", flush=True)
    else:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
