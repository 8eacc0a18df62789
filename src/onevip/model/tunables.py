"""What `onevip sysctl` sets: the kernel's names, defaults and ranges (spec ipvs §2), as data."""

from __future__ import annotations

from dataclasses import dataclass

from onevip.model.errors import TableError

U31 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Tunable:
    """One of /proc/sys/net/ipv4/vs/ of the kernel's IPVS."""

    name: str
    default: int
    highest: int  # the lowest is 0
    effect: str


class UnknownTunable(TableError):
    """A name that is none of these, or a value out of its range."""


TUNABLES: dict[str, Tunable] = {
    one.name: one
    for one in (
        Tunable(
            "conn_reuse_mode", 1, 3,
            "a SYN on an old connection begins a new one: 0 never, 1 in TIME_WAIT and CLOSE, "
            "2 and 3 also in FIN_WAIT when no reply was ever seen",
        ),
        Tunable(
            "expire_nodest_conn", 0, 1,
            "1: connections of a deleted real server end at once; 0: their packets are dropped "
            "until it is back",
        ),
        Tunable(
            "expire_quiescent_template", 0, 1,
            "1: persistence does not lead to a real server of weight 0",
        ),
        Tunable(
            "lblc_expiration", 86400, U31,
            "seconds after which lblc forgets a destination that nobody asked for",
        ),
        Tunable(
            "lblcr_expiration", 86400, U31,
            "seconds without a change after which lblcr takes the busiest server out of a set",
        ),
        Tunable("run_estimation", 1, 1, "0: rates (ipvsadm -L --rate) stand still"),
        Tunable(
            "secure_tcp", 0, 3,
            "TCP states by the second table: 0 never, 1 when the connection table is full (then "
            "it shows 2), 3 always",
        ),
        Tunable("sloppy_tcp", 0, 1, "1: any TCP packet but a RST may open a connection"),
        Tunable("sloppy_sctp", 0, 1, "1: any SCTP packet but an ABORT may open a connection"),
    )
}  # fmt: skip


def check_tunable(name: str, value: int) -> Tunable:
    """The tunable of that name. Raises UnknownTunable for another, or a value out of range."""
    found = TUNABLES.get(name)
    if found is None:
        raise UnknownTunable(f"no tunable {name}; there are {', '.join(TUNABLES)}")
    if not 0 <= value <= found.highest:
        raise UnknownTunable(f"{name}: {value} is not in 0..{found.highest}")
    return found
