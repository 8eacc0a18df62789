"""A real server of one service at work: its counts, its thresholds, and what it outlives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onevip.model import Counters, RealServer, RealServerKey
from onevip.reference.counters import Statistics
from onevip.schedulers.scheduler import Address

if TYPE_CHECKING:
    from onevip.reference.services import LiveService


@dataclass(eq=False)
class LiveRealServer:
    """What schedulers see, connections count in, and a deletion leaves behind for a while.

    `overloaded`: no scheduler chooses it. `available`: it stands in its service's list; a deleted
    one is kept while connections name it (trash.py).
    """

    service: LiveService
    real: RealServer
    last_weight: int = 0
    active: int = 0
    inactive: int = 0
    persistent: int = 0  # templates
    overloaded: bool = False
    available: bool = True
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def key(self) -> RealServerKey:
        return self.real.key

    @property
    def address(self) -> Address:
        return self.real.address

    @property
    def port(self) -> int:
        return self.real.port

    @property
    def weight(self) -> int:
        return self.real.weight

    @property
    def is_named(self) -> bool:
        """A connection or a template leads to it."""
        return bool(self.active or self.inactive or self.persistent)

    # What the administrator does.

    def configure(self, real: RealServer) -> None:
        """An edit (spec ipvs §5.5): no upper threshold, or a higher one, ends an overload now; a
        lower one makes one with the next connection."""
        if not real.upper_threshold or real.upper_threshold > self.real.upper_threshold:
            self.overloaded = False
        self.real = real
        self.last_weight = real.weight or self.last_weight

    def join(self, service: LiveService, real: RealServer) -> None:
        """Put into the service's list: at first, or again after its deletion, with its counts."""
        self.configure(real)
        self.last_weight = real.weight
        self.service = service
        self.available = True
        self.statistics.forget_rates()

    # What connections do (spec ipvs §3.1, §5.5).

    def bind_connection(self) -> None:
        self.inactive += 1
        self._check_upper_threshold()

    def unbind_connection(self, was_active: bool) -> None:
        if was_active:
            self.active -= 1
        else:
            self.inactive -= 1
        self._check_lower_threshold()

    def move_connection(self, becomes_active: bool) -> None:
        step = 1 if becomes_active else -1
        self.active += step
        self.inactive -= step

    def bind_template(self) -> None:
        """Counted apart, but an occasion to look at the threshold."""
        self.persistent += 1
        self._check_upper_threshold()

    def unbind_template(self) -> None:
        self.persistent -= 1
        self._check_lower_threshold()

    def _check_upper_threshold(self) -> None:
        if self.real.upper_threshold and self.active + self.inactive >= self.real.upper_threshold:
            self.overloaded = True

    def _check_lower_threshold(self) -> None:
        """Without a lower threshold an overload ends below three quarters of the upper one."""
        left, upper, lower = (
            self.active + self.inactive,
            self.real.upper_threshold,
            self.real.lower_threshold,
        )
        if left < lower if lower else (not upper or 4 * left < 3 * upper):
            self.overloaded = False

    # What is counted: only while it stands in the list (spec ipvs §7).

    def count_connection(self) -> None:
        self.statistics.count_connection()
        self.service.statistics.count_connection()

    def count_in(self, length: int) -> None:
        if self.available:
            self.statistics.count_in(length)
            self.service.statistics.count_in(length)

    def count_out(self, length: int) -> None:
        if self.available:
            self.statistics.count_out(length)
            self.service.statistics.count_out(length)

    def counters(self) -> Counters:
        return self.statistics.shown(self.active, self.inactive, self.persistent)
