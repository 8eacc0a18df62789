"""Probes by way of the VIP (`checkpath=vip`): their sockets, and what a failed one means.

The mark sends a packet along the data path; who hands out marks, and what they do, is none of
this room's business.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace

from onevip.model import Check, CheckPath, ForwardingMethod, Outcome

#: What TCP may send at once into a tunnel: IPv6's smallest MTU without the headers fits any.
TUNNEL_SEGMENT = 1240
#: How long a real server may take to show that it would have answered at its own address.
SECOND_LOOK_S = 0.5
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger
_HINTS = {
    ForwardingMethod.GATE: "is {vip} on its lo?",
    ForwardingMethod.IPIP: "does it take packets out of the tunnel, and is {vip} on its lo?",
}


def prepare(made: socket.socket, mark: int, path: CheckPath) -> None:
    """Send this socket's packets the way of that mark. Raises OSError.

    All answers come from the VIP, so each socket needs a local port that no other one has: left
    to itself, the kernel gives two TCP sockets to two real servers the same. And so that none
    is kept for the minute of TIME_WAIT, TCP ends with a reset.
    """
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    if made.type is not socket.SOCK_STREAM:
        return
    made.bind(("", 0))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    if path.method is ForwardingMethod.IPIP:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, TUNNEL_SEGMENT)


async def explained(
    check: Check, outcome: Outcome, by_own_address: Callable[[float], Awaitable[Outcome]]
) -> Outcome:
    """The failed outcome, and whether the real server answers at its own address.

    `by_own_address` runs the probe again the common way, for so many seconds.
    """
    assert check.path is not None
    vip, method = check.path.service.address, check.path.method
    second = await by_own_address(min(check.timeout_s, SECOND_LOOK_S))
    if not second.healthy:
        return replace(outcome, reason=f"{outcome.reason} (by way of {vip})")
    hint = _HINTS.get(method, "").format(vip=vip)
    return replace(
        outcome, reason=f"answers at its own address, but not at {vip}: {outcome.reason}; {hint}"
    )
