"""Totals of a real server or a service, and the estimator of their rates (spec ipvs §7)."""

from __future__ import annotations

from onevip.model import Counters

#: What is counted, and by how many bits its rate is scaled: the kernel's fixed point.
SCALES = {"connections": 10, "in_packets": 10, "out_packets": 10, "in_bytes": 5, "out_bytes": 5}
ESTIMATE_EVERY_S = 2.0


class Statistics:
    """Only grows; what `ipvsadm -Z` clears is taken off when it is shown."""

    def __init__(self) -> None:
        self.totals = dict.fromkeys(SCALES, 0)
        self.zero = dict.fromkeys(SCALES, 0)
        self.at_last_estimate = dict.fromkeys(SCALES, 0)
        self.rates = dict.fromkeys(SCALES, 0)

    def count_connection(self) -> None:
        self.totals["connections"] += 1

    def count_in(self, length: int) -> None:
        self.totals["in_packets"] += 1
        self.totals["in_bytes"] += length

    def count_out(self, length: int) -> None:
        self.totals["out_packets"] += 1
        self.totals["out_bytes"] += length

    def estimate(self) -> None:
        """A quarter of the way from the rate to that of the last two seconds."""
        for name, bits in SCALES.items():
            sample = (self.totals[name] - self.at_last_estimate[name]) << bits >> 1
            self.rates[name] += (sample - self.rates[name]) >> 2
        self.at_last_estimate = dict(self.totals)

    def clear(self) -> None:
        """Totals and rates; what was counted since the last estimate is in the next one."""
        self.zero = dict(self.totals)
        self.forget_rates()

    def forget_rates(self) -> None:
        self.rates = dict.fromkeys(SCALES, 0)

    def shown(self, active: int, inactive: int, persistent: int) -> Counters:
        """Rates are rounded to whole ones, halves down."""
        totals = {name: self.totals[name] - self.zero[name] for name in SCALES}
        rates = {
            f"{name}_rate": (self.rates[name] + (1 << bits >> 1) - 1) >> bits
            for name, bits in SCALES.items()
        }
        return Counters(active, inactive, persistent, **totals, **rates)
