"""The nftables rules that send packets with the mark of a service to ov0. A table of our own, put
in force and removed as a whole by one transaction; nobody else's is looked at.

Why these rules: docs/decisions/0007-firewall-marks.md.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import struct
from collections.abc import Iterable

from onevip.engines.bpf import netlink, pair
from onevip.engines.bpf.netlink import attribute, attributes
from onevip.model import DataplaneError

TABLE = "onevip_marks"
CHAIN = "prerouting"
PRIORITY = 300  # after every rule that may set a mark, DNAT and filters among them
NOWHERE = "192.0.0.8"  # RFC 7600's dummy address: never this machine's, and nobody asks for its MAC
PATIENCE_S = 10.0

_STEP = "the nftables rules for packets with a mark"
_GET_TABLE, _GET_RULE = 10 << 8 | 1, 10 << 8 | 7  # NFNL_SUBSYS_NFTABLES
_TABLE_NAME, _RULE_TABLE, _RULE_CHAIN, _RULE_USERDATA = 1, 1, 2, 7
_IPV4 = struct.pack("=BBH", 2, 0, 0)  # struct nfgenmsg
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL)

#: `dup` lowers the TTL and sets DF. The program on ov0 puts both right: a packet whose DF was not
#: set is told by its type, which the kernel does not look at on the way out.
RULES = """\
meta mark != {{ {marks} }} accept
meta pkttype != host accept
meta l4proto != {{ tcp, udp, sctp }} accept
iifname "{into}" accept
ip frag-off & 0x4000 == 0 meta pkttype set broadcast
dup to {nowhere} device "{out}" drop"""


def _rules(marks: Iterable[int]) -> list[str]:
    listed = ", ".join(f"{mark:#x}" for mark in sorted(marks))
    text = RULES.format(marks=listed, nowhere=NOWHERE, into=pair.IN, out=pair.OUT)
    return text.splitlines()


def _signature(rules: list[str]) -> str:
    """A comment of the last rule: by it the whole is known again, at one glance."""
    return f"onevip {hashlib.sha256(chr(10).join(rules).encode()).hexdigest()[:16]}"


def is_in_force(marks: Iterable[int]) -> bool:
    """Whether the table is as `put` would make it."""
    rules = _rules(marks)
    name, chain = f"{TABLE}\0".encode(), f"{CHAIN}\0".encode()
    question = _IPV4 + attribute(_RULE_TABLE, name) + attribute(_RULE_CHAIN, chain)
    found = [attributes(answer[4:]) for answer in _ask(_GET_RULE, netlink.DUMP, question)]
    if len(found) != len(rules):
        return False
    return _signature(rules).encode() in found[-1].get(_RULE_USERDATA, b"")


def exists() -> bool:
    """Whether there is a table of that name."""
    return bool(_ask(_GET_TABLE, 0, _IPV4 + attribute(_TABLE_NAME, f"{TABLE}\0".encode())))


def _ask(kind: int, flags: int, question: bytes) -> list[bytes]:
    try:
        return netlink.ask(netlink.NETFILTER, kind, flags, question)
    except OSError as error:
        if error.errno == errno.ENOENT or error.errno in _NO_NFTABLES:
            return []
        raise DataplaneError("looking at nftables", str(error), error.errno or 0) from error


def put(marks: Iterable[int]) -> None:
    """The table with rules for these marks instead of what it was: no packet sees it half done.

    Raises DataplaneError without nft, and when the kernel lacks what the rules need.
    """
    rules = _rules(marks)
    body = "\n".join(rules) + f' comment "{_signature(rules)}"'
    _nft(
        f"table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\nchain {CHAIN} {{\n"
        f"type filter hook prerouting priority {PRIORITY}; policy accept;\n{body}\n}}\n}}\n"
    )


def remove() -> None:
    """Idempotent."""
    if exists():
        _nft(f"table ip {TABLE}\ndelete table ip {TABLE}\n")


def require_nft() -> str:
    """Where it is. Raises DataplaneError when it is not installed."""
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if nft is None:
        raise DataplaneError(_STEP, "nft not found: apt install nftables")
    return nft


def _nft(script: str) -> None:
    import subprocess  # noqa: PLC0415 - edits of a table without marks do not pay for it

    try:
        done = subprocess.run(
            [require_nft(), "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataplaneError(_STEP, f"nft -f: no end after {PATIENCE_S:g} s") from None
    if done.returncode:
        said = next(iter(done.stderr.splitlines()), f"exit status {done.returncode}")
        needed = "the kernel needs nf_tables and nft_dup_ipv4"
        raise DataplaneError(_STEP, f"nft: {said.removeprefix('/dev/stdin:')}: {needed}")
