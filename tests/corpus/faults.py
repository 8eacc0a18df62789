"""What of a recording is a fault of the real program that onevip does not repeat: by file, state
and row. Anything else that differs is a difference, and so is a fault that is not to be seen."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """Rows, as `SERVICE -> REAL SERVER`, that are right to differ."""

    why: str
    rows: frozenset[str]


def _rows(text: str) -> frozenset[str]:
    """A service, an arrow and its real servers in each line."""
    pairs = (line.split(" -> ") for line in text.strip().splitlines())
    return frozenset(
        f"{service.strip()} -> {real}" for service, reals in pairs for real in reals.split()
    )


# Real servers waiting for their first check are remembered by address and port alone: of several
# services with the same one only one gets it with weight 0 (spec ldirectord §5.1).
_ONE_OF_SEVERAL = "a server of several services was quiesced in one of them only"
_POP = "pop without a login was up with the server dead"
# Checks are serial: the table was recorded before these had their turn, and none is up at once.
_NOT_YET = "service=none had not yet had its first check"

# gate stores the service's port; the real program looks for its own, finds nothing, and its second
# -a fails (§5.2). So a server that begins with weight 0 keeps it.
_NEVER_FOUND = "gate with another port than the service's: never found again, so never up"
# masq to port 0 is to the service's port. The table says so, and the daemon finds its rows again.
_PORT_0 = "a masq server without a port stands in the table with the service's port, not with 0"

FAULTS: dict[tuple[str, str], tuple[Fault, ...]] = {
    ("large-hosting.cf", "down"): (
        Fault(
            _ONE_OF_SEVERAL,
            _rows("""
                10.0.16.1:53 -> 10.0.240.8:53 10.0.240.9:53
                10.0.16.10:80 -> 10.0.96.112:80 10.0.96.113:80 10.0.96.114:80 10.0.96.115:80
                10.0.16.17:80 -> 10.0.80.4:80 10.0.240.29:80
                10.0.16.53:3306 -> 10.0.112.50:3306
                10.0.16.102:3306 -> 10.0.112.51:3306
                10.0.16.112:80 -> 10.0.80.4:80 10.0.240.29:80
            """),
        ),
        Fault(
            _NOT_YET,
            _rows("""
                10.0.16.62:9312 -> 10.0.98.211:9312
                10.0.16.99:9312 -> 10.0.98.211:9312 10.0.98.212:9312
            """),
        ),
    ),
    ("syn-mixed.cf", "up"): (Fault(_ONE_OF_SEVERAL, _rows("10.10.0.1:80 -> 10.10.1.1:80")),),
    ("syn-mixed.cf", "down"): (
        Fault(
            _ONE_OF_SEVERAL,
            _rows("""
                10.10.0.1:80 -> 10.10.1.1:80
                10.10.0.4:5000 -> 10.10.1.2:5001
            """),
        ),
    ),
    ("upstream-06-pop.cf", "down"): (
        Fault(
            _POP,
            _rows("192.168.6.240:110 -> 127.0.0.1:110 192.168.16.3:110 192.168.16.5:110"),
        ),
    ),
    ("oddities.cf", "up"): (Fault(_NEVER_FOUND, _rows("10.6.0.1:80 -> 0.0.0.80:80")),),
    ("talk.cf", "up"): (
        Fault(
            _PORT_0,
            _rows("""
                10.3.0.6:636 -> 10.3.1.6:0 10.3.1.6:636
                10.3.0.7:3306 -> 10.3.1.7:0 10.3.1.7:3306
            """),
        ),
    ),
}
