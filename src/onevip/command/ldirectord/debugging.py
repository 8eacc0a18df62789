"""What `ldirectord -d` says besides its log: each probe, and each change as a command of ipvsadm.

A probe's lines come together when it has ended: probes run side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from onevip.command.ipvsadm.command_line import command_line
from onevip.command.ldirectord import check_words
from onevip.daemon.events import Event, Probed, TableChanged

log = logging.getLogger(__name__)

#: Which ldirectord would run; we change the table ourselves.
IPVSADM = "/sbin/ipvsadm"


class Debugging:
    """A listener, the first one: what is done comes before what is said of it."""

    def heard(self, event: Event) -> None:
        match event:
            case Probed():
                for line in _probe(event):
                    log.debug("%s", line)
            case TableChanged(change):
                log.info("Running system(%s %s)", IPVSADM, command_line(change))
            case _:
                pass

    async def close(self) -> None:
        """Nothing is left to say."""


def _probe(event: Probed) -> Iterator[str]:
    probed = event.probed
    rows = list(check_words.rows(event))
    kind = check_words.kind(probed.check, probed.probe)
    for _, name in rows:
        yield f"DEBUG2: Checking {kind}: {name}"
    if begun := check_words.begun(probed.check, probed.probe):
        yield f"DEBUG2: {begun}"
    if not probed.outcome.tried:
        yield check_words.not_tried(event)
        return
    yield check_words.found(event)
    for row, name in rows:
        is_up = probed.outcome.healthy and row not in event.in_maintenance
        yield f"DEBUG2: {'Enabled ' if is_up else 'Disabled'} {name}"
    yield check_words.verdict(event)
