"""One file per protocol, one attempt each. A probe has no time limit of its own and may raise
OSError: `prober.attempt` gives it both, and the words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from onevip.health.matcher import Matcher
from onevip.health.probes import http, tcp
from onevip.model import Check, CheckType, Outcome

Probe = Callable[[Check], Awaitable[Outcome]]


def probes(matcher: Matcher) -> Mapping[CheckType, Probe]:
    """The probe of every type of check that is probed at all."""
    return {
        CheckType.HTTP: partial(http.probe, search=matcher.search),
        CheckType.CONNECT: tcp.probe,
    }
