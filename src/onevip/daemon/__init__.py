"""The one loop in which rooms meet: configuration + verdicts → wanted table → diff → apply."""

from onevip.daemon.loop import run
from onevip.daemon.ownership import Ownership

__all__ = ["Ownership", "run"]
