"""A whole cluster in network namespaces on one machine, and the demo that plays on it.

Makes nothing outside its own namespaces and /run/onevip/lab, and takes all of it down again.
"""

from onevip.lab.cli import command
from onevip.lab.cluster import Cluster
from onevip.lab.namespace import LabError, Namespace

__all__ = ["Cluster", "LabError", "Namespace", "command"]
