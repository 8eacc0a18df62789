"""A host's own network: what makes it a real server or a director, and the way back.

Through netlink and /proc/sys of the network namespace of this process, never by shell commands.
"""
