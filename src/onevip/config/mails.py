"""`emailalert…`: who hears by mail. A section's own value goes before the global one."""

from __future__ import annotations

import re

from onevip.config import directives as d
from onevip.config.given import Given
from onevip.model import MailAlert, Phase

#: Several addresses stand with commas, semicolons or blanks between; ldirectord handed them to
#: the mail server as one.
_BETWEEN = re.compile(r"[\s,;]+")


def mail_alert(given: Given) -> MailAlert | None:
    """None when nobody is to hear of this section, or of the file."""
    to = given.either(d.EMAILALERT)
    if not to:
        return None
    phases = given.either(d.EMAILALERTSTATUS)
    globally = given.outer or given
    seconds: int = given.either(d.EMAILALERTFREQ) or 0
    return MailAlert(
        to=tuple(filter(None, _BETWEEN.split(to.replace('"', " ")))),
        sender=globally.get(d.EMAILALERTFROM) or "",
        phases=frozenset(Phase) if phases is None else phases,
        repeat_s=seconds,
        smtp_host=given.either(d.SMTP) or "",
    )
