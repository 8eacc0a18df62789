"""The scheduling rules in Python: pure, no I/O, clock and dice are arguments.

Each scheduler is a file of its name. `ServerList` is what an engine carries rr's and wrr's place
in; `rings` are the lookup tables of sh, dh and mh.
"""

from collections.abc import Callable, Sequence
from typing import Any

from onevip.schedulers.dh import DestinationHashing
from onevip.schedulers.fo import FailOver
from onevip.schedulers.lblc import LocalityLeastConnections
from onevip.schedulers.lblcr import ReplicatedLocality
from onevip.schedulers.lc import LeastConnections
from onevip.schedulers.mh import MaglevHashing
from onevip.schedulers.none import NoScheduler
from onevip.schedulers.nq import NeverQueue
from onevip.schedulers.ovf import Overflow
from onevip.schedulers.rr import RoundRobin
from onevip.schedulers.scheduler import Request, Scheduler, Server
from onevip.schedulers.sed import ShortestExpectedDelay
from onevip.schedulers.server_list import Member, ServerList
from onevip.schedulers.sh import SourceHashing
from onevip.schedulers.twos import PowerOfTwo
from onevip.schedulers.wlc import WeightedLeastConnections
from onevip.schedulers.wrr import WeightedRoundRobin

#: What makes a service's scheduler, for the servers that it has already.
BY_NAME: dict[str, Callable[[Sequence[Any]], Scheduler[Any]]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnections,
    "wlc": WeightedLeastConnections,
    "sed": ShortestExpectedDelay,
    "nq": NeverQueue,
    "fo": FailOver,
    "ovf": Overflow,
    "twos": PowerOfTwo,
    "lblc": LocalityLeastConnections,
    "lblcr": ReplicatedLocality,
    "sh": SourceHashing,
    "dh": DestinationHashing,
    "mh": MaglevHashing,
    "none": NoScheduler,
}

__all__ = ["BY_NAME", "Member", "Request", "Scheduler", "Server", "ServerList"]
