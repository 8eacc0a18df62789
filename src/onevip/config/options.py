"""What `persistent`, `netmask`, `schedflags` and `ops` make of a service: its options."""

from __future__ import annotations

from onevip.config import directives as d
from onevip.config.given import Given
from onevip.config.names import Address
from onevip.config.values import did_you_mean
from onevip.model import Protocol, SchedulerFlag, ServiceKey, ServiceOptions
from onevip.model.scheduler_flags import SCHEDULER_FLAGS


def options(key: ServiceKey, scheduler: str, given: Given) -> ServiceOptions:
    """The options of a section's service. Raises ConfigError."""
    return ServiceOptions(
        flags=_flags(scheduler, given),
        persistent_s=given.get(d.PERSISTENT) or 0,
        netmask=_netmask(given),
        one_packet=_is_one_packet(key, given),
    )


def _flags(scheduler: str, given: Given) -> SchedulerFlag:
    flags, place = SchedulerFlag.NONE, given.place(d.SCHEDFLAGS)
    if place is None:
        return flags
    for name in filter(None, (given.get(d.SCHEDFLAGS) or "").split(",")):
        if name not in SCHEDULER_FLAGS:
            hint = did_you_mean(name, SCHEDULER_FLAGS) or f"known are {', '.join(SCHEDULER_FLAGS)}"
            raise place.refusal(f'unknown scheduler flag "{name}"', hint, at=name)
        flag, only = SCHEDULER_FLAGS[name]
        if only not in ("", scheduler):
            raise place.refusal(
                f"scheduler flag {name} is for scheduler={only}, not for {scheduler}", at=name
            )
        flags |= flag
    return flags


def _netmask(given: Given) -> Address | None:
    place = given.place(d.NETMASK)
    if place is not None and not given.get(d.PERSISTENT):
        place.warn("netmask means nothing without persistent and is ignored")
        return None
    netmask = given.get(d.NETMASK)
    return None if netmask is None or int(netmask) == 2**netmask.max_prefixlen - 1 else netmask


def _is_one_packet(key: ServiceKey, given: Given) -> bool:
    """As in ldirectord, only of a UDP service; IPVS would take it of a mark, too."""
    if not given.get(d.OPS):
        return False
    place = given.place(d.OPS)
    if place is not None and key.protocol is not Protocol.UDP:
        place.warn("ops=yes is for protocol=udp and is ignored")
    return key.protocol is Protocol.UDP
