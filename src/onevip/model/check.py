"""What is checked on a real server, and what one attempt found. Values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


class CheckType(enum.Enum):
    """How a real server's health is found (ldirectord's `checktype`)."""

    HTTP = "http"  # checktype=negotiate with service=http
    CONNECT = "connect"
    ON = "on"  # up at once, never probed
    OFF = "off"  # never probed, never up by itself


@dataclass(frozen=True, slots=True)
class Check:
    """One configured check. Equal checks are one check: they share their probes and verdict."""

    type: CheckType
    address: IPv4Address | IPv6Address
    port: int
    timeout_s: float
    interval_s: float
    request: str = "/"
    receive: str = ""  # regular expression, searched unanchored; empty: any body
    virtualhost: str = ""
    http_method: str = "GET"
    failure_count: int = 1  # consecutive failures before the verdict is down


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one probe found: healthy or not, and why in words for people."""

    healthy: bool
    reason: str
