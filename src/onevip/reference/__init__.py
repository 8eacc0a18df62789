"""IPVS in readable Python: the specification in code. No I/O; the clock is an argument.

Table and packet headers in; decision, connection and counters out. Read director.py first. Tests
hold the data plane against it; it moves no packets itself.
"""

from onevip.reference.director import Director
from onevip.reference.packet import Decision, Packet, Verdict

__all__ = ["Decision", "Director", "Packet", "Verdict"]
