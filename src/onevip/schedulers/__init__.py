"""The scheduling rules in Python: pure, no I/O. Ids and weights only; engines know the rest."""

from onevip.schedulers.server_list import Member, ServerList

__all__ = ["Member", "ServerList"]
