"""A change as the ipvsadm command that makes it. Pure; `reading` and `edits` read it back.

In ldirectord's order of options, so that the lines of `ldirectord -d` compare.
"""

from __future__ import annotations

from onevip.model.changes import (
    AddRealServer,
    AddService,
    Change,
    Clear,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    EditService,
    Zero,
)
from onevip.model.scheduler_flags import words_of_flags
from onevip.model.service import (
    ForwardingMethod,
    Protocol,
    RealServer,
    SchedulerFlag,
    ServiceKey,
    ServiceOptions,
    endpoint_text,
)

_SERVICE = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
_METHOD = {
    ForwardingMethod.MASQ: "-m",
    ForwardingMethod.GATE: "-g",
    ForwardingMethod.IPIP: "-i",
    ForwardingMethod.LOCAL: "-g",  # the kernel makes it local again by its address
}


def command_line(change: Change) -> str:
    """`-a -t 192.0.2.1:80 -x 0 -y 0 -r 10.1.0.10:80 -m -w 3`: what follows `ipvsadm`."""
    match change:
        case AddService(key, scheduler, options):
            return f"-A {_service(key)} {_scheduling(key, scheduler, options)}"
        case EditService(key, scheduler, options):
            return f"-E {_service(key)} {_scheduling(key, scheduler, options)}"
        case DeleteService(key):
            return f"-D {_service(key)}"
        case AddRealServer(key, real):
            return f"-a {_service(key)} {_real_server(real)}"
        case EditRealServer(key, real):
            return f"-e {_service(key)} {_real_server(real)}"
        case DeleteRealServer(key, real_key):
            return f"-d {_service(key)} -r {real_key}"
        case Clear():
            return "-C"
        case Zero(of):
            return f"-Z {_service(of)}" if of else "-Z"


def _service(key: ServiceKey) -> str:
    if key.mark:
        return f"-f {key.mark}" + (" -6" if key.address.version == 6 else "")
    return f"{_SERVICE[key.protocol]} {endpoint_text(key.address, key.port)}"


def _scheduling(key: ServiceKey, scheduler: str, options: ServiceOptions) -> str:
    words = ["-o"] if options.one_packet else []
    words += ["-s", scheduler]
    if options.persistent_s:
        words += ["-p", str(options.persistent_s)]
    if options.netmask is not None:
        is_ipv6 = key.address.version == 6
        words += ["-M", str(int(options.netmask).bit_count() if is_ipv6 else options.netmask)]
    if flags := _flags(scheduler, options.flags):
        words += ["-b", ",".join(flags)]
    return " ".join(words)


def _flags(scheduler: str, flags: SchedulerFlag) -> list[str]:
    words = words_of_flags(scheduler, flags)
    if SchedulerFlag.FLAG_3 in flags and "flag-3" not in words:
        words.append("flag-3")  # sh and mh take it, though they never show it
    return words


def _real_server(real: RealServer) -> str:
    tail = f"-r {real.key} {_METHOD[real.method]} -w {real.weight}"
    if real.is_quiescent and not real.upper_threshold and not real.lower_threshold:
        return tail  # left out, both are 0
    return f"-x {real.upper_threshold} -y {real.lower_threshold} {tail}"
