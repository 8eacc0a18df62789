"""`python -m corpus.record DIR`: asks the real ldirectord about every file of a corpus, and writes
its expected.json and malformed/expected.json anew. As root, on a Debian with ldirectord."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus import real

_STUB = Path(__file__).with_name("ipvsadm_stub.py")


def main(argv: Sequence[str]) -> int:
    directory = Path(argv[0]).resolve()
    os.chdir(directory)  # so that messages hold short names
    _write(directory / "expected.json", recorded(directory))
    _write(directory / "malformed" / "expected.json", refused(directory))
    return 0


def recorded(directory: Path) -> dict[str, Any]:
    """Structure, and the table with every server up and with none."""
    paths = sorted(Path("config").glob("*.cf"))
    found: dict[str, Any] = {}
    for path, answer in real.ask(paths, directory / "hosts").items():
        if answer.parsed is None:
            found[path.name] = {"parsed": {"error": answer.messages.rstrip(), "exit": answer.exit}}
            continue
        warnings = answer.messages.splitlines()
        found[path.name] = {
            "parsed": {**answer.parsed, "warnings": warnings},
            **{state: _table(path, state, directory / "hosts") for state in ("up", "down")},
        }
    return found


def refused(directory: Path) -> dict[str, Any]:
    """Messages and exit status of malformed files, and of oddities that are accepted."""
    paths = sorted(Path("malformed").glob("*.cf"))
    return {
        path.stem: {
            "exit": answer.exit,
            "messages": answer.messages.splitlines(),
            "accepted": answer.exit == 3,
        }
        for path, answer in real.ask(paths, directory / "hosts").items()
    }


def _table(path: Path, state: str, hosts: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "table"
        os.environ["TABLE"] = str(table)
        answer = json.loads(real.run(f"{path}\t{state}\n", hosts, ipvsadm=str(_STUB)))[0]
        listing = subprocess.run([_STUB, "-L"], capture_output=True, text=True, check=True)
    return {"exit": answer["exit"], "table": listing.stdout.splitlines()}


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True)
    path.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
