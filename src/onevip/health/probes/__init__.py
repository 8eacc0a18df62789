"""One file per protocol, one attempt each. A probe has no time limit of its own and may raise
OSError or OnevipError: `prober.attempt` gives it both, and the words."""

from __future__ import annotations

from collections.abc import Mapping

from onevip.health.probes import external, http, perl, ping, tcp
from onevip.health.tools import Probe

#: By the names in `Check.probes`. A service that is not here cannot be checked: it counts as down.
PROBES: Mapping[str, Probe] = {
    "connect": tcp.probe,
    "external": external.probe,
    "external-perl": perl.probe,
    "http": http.probe,
    "ping": ping.probe,
}
