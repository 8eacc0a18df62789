"""The scheduling rules in Python: pure, no I/O; clock and dice are arguments.

Each scheduler is a file of its name, by_name.py finds them. `ServerList` is what an engine carries
rr's and wrr's place in, `rings` are the lookup tables of sh, dh and mh. The rules are not imported
here: the ipvsadm command would wait 10 ms for them.
"""

from onevip.schedulers.server_list import Member, ServerList

__all__ = ["Member", "ServerList"]
