"""The local mail system, by its sendmail program, as Perl's Mail::Send has it."""

from __future__ import annotations

import os
from email.message import EmailMessage

from onevip import processes
from onevip.daemon.mail.carriers import NotNow, Refused
from onevip.health.prober import printable, words

LIMIT_S = 60.0
#: In the order in which Mail::Mailer looks for them.
SENDMAILS = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/ucblib/sendmail")


async def by_sendmail(message: EmailMessage) -> None:
    """Hand it to the local mail system. Raises Refused, NotNow."""
    program = next((path for path in SENDMAILS if os.access(path, os.X_OK)), None)
    if program is None:
        hint = "apt install msmtp-mta, or name a server by smtp="
        raise Refused(f"there is no {SENDMAILS[0]}: {hint}")
    # -i: a line with a single dot does not end the mail.
    text = message.as_bytes(policy=message.policy.clone(linesep="\n"))
    try:
        ended = await processes.run([program, "-t", "-i"], limit_s=LIMIT_S, stdin=text)
    except OSError as error:
        raise NotNow(f"{program}: {words(error)}") from error
    if not ended.succeeded:
        said = printable(ended.output.decode("utf-8", "replace").strip())
        raise NotNow(f"{program} {ended}" + (f": {said}" if said else ""))
