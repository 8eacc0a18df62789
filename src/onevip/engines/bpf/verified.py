"""`python -m onevip.engines.bpf.verified`: how many instructions the verifier followed.

Fails above 500,000 a program: half of what the kernel allows, so that there is room to grow.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from onevip.engines.bpf import libbpf, loader
from onevip.model import DataplaneError, OnevipError

LIMIT = 500_000
VERIFIED_INSNS = 216  # offset in struct bpf_prog_info (linux/bpf.h)


def main() -> int:
    """Load every program, print its figure; 1 when one is above the limit.

    Without the privilege to load them it says so, and fails only if ONEVIP_REQUIRE names packet.
    """
    worst = 0
    try:
        for name in ("tc", "xdp", "sweep", "decap", "checkpath"):
            loaded = libbpf.Object(loader.object_path(name))
            for program, fd in loaded.programs.items():
                verified = struct.unpack_from("=I", libbpf.object_info(fd), VERIFIED_INSNS)[0]
                print(f"{program:16} {verified:8,} of {LIMIT:,} verified instructions")
                worst = max(worst, verified)
            loaded.close()
    except OnevipError as error:
        print(f"BPF programs not verified: {error}", file=sys.stderr)
        refused = isinstance(error, DataplaneError) and error.errno in (errno.EPERM, errno.EACCES)
        return 0 if refused and "packet" not in os.environ.get("ONEVIP_REQUIRE", "") else 1
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
