"""Files that nobody wrote, read by the real ldirectord and by onevip: the same messages, byte for
byte, the same exit status, the same structure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from corpus import mutations, real, structure
from corpus.compare import Hosts, differences
from onevip.config import World, names, read
from onevip.config.safety import decoded

_SECRET = re.compile(r"(Unknown command \W*(?:passwd|secret)\s*=\s*)\S[^\n]*", re.IGNORECASE)


def files(directory: Path, sources: Sequence[Path], seeds: range) -> list[Path]:
    """Writes a file for each seed: invented ones and mutations of the sources, in turn."""
    found = []
    for seed in seeds:
        if seed % 2 or not sources:
            text = mutations.invented(seed)
        else:
            source = sources[seed // 2 % len(sources)]
            text = mutations.mutated(decoded(source.read_bytes()), seed)
        path = directory / f"{seed}.cf"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        found.append(path)
    return found


def compared(paths: Sequence[Path], hosts: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each file, and what is not the same."""
    world = World(resolve=Hosts(hosts), port_of=names.port_of, own_name=lambda: real.HOST_NAME)
    for path, answer in real.ask(paths, hosts).items():
        yield path, list(_differences(path, answer, world))


def _differences(path: Path, answer: real.Answer, world: World) -> Iterator[str]:
    reading = read(decoded(path.read_bytes()), str(path), world)
    if reading.errors and all(error.ours for error in reading.errors):
        # It takes these, and ipvsadm refuses them later; we refuse them here.
        if answer.exit != 3:
            yield f"ours are {reading.errors}, but the real one says {answer.messages!r}"
        return
    said = "".join(f"{text}\n" for text in reading.as_ldirectord(0)).replace("[0]", "[PID]")
    theirs = _SECRET.sub(r"\1***", answer.messages)  # the one thing that is not said after it
    if said != theirs:
        yield f"says {said!r}, not {theirs!r}"
    status = 3 if reading.configuration else 2
    if status != answer.exit:
        yield f"exit {status}, not {answer.exit}"
    if answer.parsed is not None and reading.configuration:
        yield from differences("", structure.plain(answer.parsed), structure.of(reading))
