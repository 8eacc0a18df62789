"""What stops a probe before it reaches the real server: the director's own trouble."""

from __future__ import annotations

import errno

from onevip.model import OnevipError

#: Errors that tell of this machine and not of the real server, with what to do.
OWN_TROUBLE = {
    errno.EMFILE: "the director is out of file descriptors: raise its limit (LimitNOFILE)",
    errno.ENFILE: "this machine is out of file descriptors: raise fs.file-max",
    errno.ENOMEM: "this machine is out of memory",
    errno.ENOBUFS: "the kernel has no memory for packets",
    errno.EADDRNOTAVAIL: "the director is out of local ports, or has no address to send from",
    errno.ETXTBSY: "the program is being written",
    errno.EAGAIN: "this machine has no processes or buffers to spare: raise their limits",
}


class CouldNotTry(OnevipError):
    """Ends an attempt that says nothing of the real server; its text is the reason."""
