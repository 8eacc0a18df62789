"""Is a real server alive? Probes ask, the verdict decides, the checker keeps them going.

Knows checks only: nothing of services, weights or tables.
"""

from onevip.health.checker import Checker, Probed
from onevip.health.verdict import State, Verdict, initial, step

__all__ = ["Checker", "Probed", "State", "Verdict", "initial", "step"]
