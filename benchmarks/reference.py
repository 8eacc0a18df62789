"""What the best stateless XDP balancer costs by the same method, for the picture.

Figures of the project's specification (measuring, section 2: Maglev and an LRU cache, AMD Zen 4,
kernel 6.18, three runs), not measured here: the lowest and the highest ratio of each case.
"""

from __future__ import annotations

from typing import Final

Range = tuple[float, float]

_NEW: Final[Range] = (39, 45)  # SYN of a new flow, its state kept

STATELESS_XDP: Final[dict[str, Range]] = {
    "established gate, 1 flow": (6.2, 7.2),
    "established gate, 1k flows": (6.6, 9.0),
    "established gate, 16k flows": (14, 19),
    "established gate, 128k flows": (16, 19),
    "established gate, 1M flows": (17, 22),
    "UDP gate, 1 flow": (6, 8),
    "UDP gate, 128k flows": (16, 22),
    "IPv6 established gate, 1 flow": (6, 7),
    "IPv6 established gate, 128k flows": (14, 16),
    "new connection by rr, 10 real servers": _NEW,
    "new connection by wrr, 10 real servers": _NEW,
    "new connection by wlc, 10 real servers": _NEW,
    "not for a VIP, one flow": (3.4, 3.9),
}
