"""Every scheduler by its name: what makes one."""

from __future__ import annotations

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
from onevip.schedulers.scheduler import Scheduler
from onevip.schedulers.sed import ShortestExpectedDelay
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
