"""What of the machine the benchmarks need beyond `make setup`."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.sections import BenchmarkError
from onevip.lab.namespace import ENVIRONMENT

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
#: What proves that a Debian package is there: a program, or a file.
PACKAGES = {
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    str(NGINX_STREAM): "libnginx-mod-stream",
    "nft": "nftables",
    "ipvsadm": "ipvsadm",
    "wrk": "wrk",
    "ethtool": "ethtool",
}
INSTALL = f"apt-get install --no-install-recommends {' '.join(PACKAGES.values())}"


def require(*proofs: str) -> None:
    """Raises BenchmarkError with the line that installs what is missing."""
    missing = [proof for proof in proofs if not _is_there(proof)]
    if missing:
        raise BenchmarkError(
            f"not found: {', '.join(missing)}. This installs all that the benchmarks need (nginx"
            f" and haproxy then run as services, which you may disable): {INSTALL}"
        )


def _is_there(proof: str) -> bool:
    if proof.startswith("/"):
        return Path(proof).exists()
    return shutil.which(proof, path=ENVIRONMENT["PATH"]) is not None
