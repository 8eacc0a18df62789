"""Compiles every bpf/*.bpf.c into src/onevip/engines/bpf/objects/, for `make bpf` and the wheel.

Runs on a bare Python, before anything is installed. An object that is newer than every source
file stays as it is. Prints nothing when there is nothing to do.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bpf"
OBJECTS = ROOT / "src" / "onevip" / "engines" / "bpf" / "objects"
NEEDED = "apt install clang llvm libbpf-dev linux-libc-dev"


def compile_command(source: Path, target: Path) -> list[str]:
    """How one object is made. asm/types.h lies below the multiarch directory on Debian."""
    multiarch = f"/usr/include/{platform.machine()}-linux-gnu"
    return [
        "clang", "-g", "-O2", "-target", "bpf", "-mcpu=v3", "-std=gnu11",
        # Both doors' verbs and the kernel's callbacks have signatures that not every body uses up.
        "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", f"-I{SOURCES}", f"-I{multiarch}",
        "-c", str(source), "-o", str(target),
    ]  # fmt: skip


def is_fresh(target: Path, inputs: list[Path]) -> bool:
    """True when the object is newer than everything that it is made of."""
    if not target.exists():
        return False
    made = target.stat().st_mtime
    return all(source.stat().st_mtime < made for source in inputs)


def compile_object(source: Path, target: Path) -> None:
    """Compile to a temporary name, strip DWARF (BTF stays: libbpf needs it), rename."""
    unfinished = target.with_suffix(".new")
    try:
        subprocess.run(compile_command(source, unfinished), check=True)
        if strip := shutil.which("llvm-strip"):
            subprocess.run([strip, "-g", str(unfinished)], check=True)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def build() -> int:
    """Compile what is stale; 0 when every object is as new as its sources."""
    targets = {OBJECTS / f"{source.stem}.o": source for source in sorted(SOURCES.glob("*.bpf.c"))}
    inputs = [*targets.values(), *SOURCES.glob("*.h"), Path(__file__)]
    for orphan in set(OBJECTS.glob("*.o")) - targets.keys():
        orphan.unlink()
    stale = {target: source for target, source in targets.items() if not is_fresh(target, inputs)}
    if not stale:
        return 0
    if shutil.which("clang") is None:
        print(f"clang not found, it compiles the data plane: {NEEDED}", file=sys.stderr)
        return 1
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        print(f"bpf/bpf_helpers.h not found: {NEEDED}", file=sys.stderr)
        return 1
    OBJECTS.mkdir(parents=True, exist_ok=True)
    for target, source in stale.items():
        try:
            compile_object(source, target)
        except subprocess.CalledProcessError as error:
            print(f"{source.relative_to(ROOT)} does not compile", file=sys.stderr)
            return error.returncode
        print(f"{source.relative_to(ROOT)} -> {target.relative_to(ROOT)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(build())
