"""ldirectord's name of a check on a real server (spec ldirectord §4), as monitor files and its
debug output show it. Pure.

Made from the check: what its type does not use (a request of checktype=connect, say) is not in it,
though ldirectord would write it.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from onevip.model import Check, CheckType, ConfiguredRealServer, ConfiguredService, ServiceKey

_WORD = re.compile(r"[^A-Za-z0-9_]")


def real_id(service: ConfiguredService, server: ConfiguredRealServer) -> str:
    r"""`negotiate:http:tcp:10.0.0.1:80:www.example.org::1:masq:\/:ok`."""
    real, check = server.real, server.check
    host = f"[{real.address}]" if isinstance(real.address, IPv6Address) else str(real.address)
    is_told = check.port not in (0, real.port)  # 0: a ping has none
    check_port = str(check.port) if is_told else ""
    return ":".join(
        (
            *_kind(check),
            _protocol(service.key),
            *(host, str(real.port), check.virtualhost, check_port),
            *(str(real.weight), real.method.name.lower()),
            *(_quoted(check.request), _quoted(check.receive)),
        )
    )


def _kind(check: Check) -> tuple[str, ...]:
    match check.type:
        case CheckType.NEGOTIATE | CheckType.COMBINED:
            return (check.type.value, check.service)
        case CheckType.EXTERNAL | CheckType.EXTERNAL_PERL:
            return (check.type.value, check.command)
        case _:
            return (check.type.value,)


def _protocol(service: ServiceKey) -> str:
    return "fwm" if service.mark else service.protocol.name.lower()


def _quoted(text: str) -> str:
    """Perl's quotemeta."""
    return _WORD.sub(lambda found: "\\" + found[0], text)
