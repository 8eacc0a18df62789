"""How a mail leaves this machine: by SMTP to port 25 of a server, or by the local sendmail.

One attempt each, limited in time. Neither encrypts nor logs in: ldirectord does not either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib

from onevip import processes
from onevip.daemon.mail.letter import Destination, Host
from onevip.daemon.threads import in_thread
from onevip.health.prober import printable, words
from onevip.model import OnevipError

SMTP_PORT = 25
#: Of a whole session: a server that is slow on purpose (greet pause, grey listing) needs some.
SESSION_S = 60.0
ANSWER_S = 20.0
#: In the order in which Perl's Mail::Mailer looks for them.
SENDMAILS = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/ucblib/sendmail")


class Refused(OnevipError):
    """This mail will never be taken: trying again is in vain."""


class NotNow(OnevipError):
    """It may be taken later."""


async def carry(message: EmailMessage, destination: Destination, host: Host) -> None:
    """Hand the mail on. Raises Refused, NotNow."""
    if destination.smtp_host:
        await by_smtp(message, destination, host)
    else:
        await by_sendmail(message)


async def by_smtp(message: EmailMessage, destination: Destination, host: Host) -> None:
    """Hand it to the server; `destination` names one recipient. Raises Refused, NotNow."""
    try:
        async with asyncio.timeout(SESSION_S):
            await _converse(message, destination, host)
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _verdict(error.recipients[0].code, error.recipients[0].message) from error
    except aiosmtplib.SMTPConnectResponseError as error:
        # Whatever a greeting says, it says nothing of this mail.
        raise NotNow(f"{error.code} {printable(error.message)}") from error
    except aiosmtplib.SMTPResponseException as error:
        raise _verdict(error.code, error.message) from error
    except (aiosmtplib.SMTPTimeoutError, TimeoutError) as error:
        raise NotNow("no answer in time") from error
    except aiosmtplib.SMTPException as error:
        raise NotNow(printable(str(error))) from error
    except OSError as error:
        raise NotNow(words(error)) from error


async def by_sendmail(message: EmailMessage) -> None:
    """Hand it to the local mail system. Raises Refused, NotNow."""
    program = sendmail()
    if program is None:
        raise Refused(NO_SENDMAIL)
    # -i: a line with a single dot does not end the mail.
    text = message.as_bytes(policy=message.policy.clone(linesep="\n"))
    try:
        ended = await processes.run([program, "-t", "-i"], limit_s=SESSION_S, stdin=text)
    except OSError as error:
        raise NotNow(f"{program}: {words(error)}") from error
    if not ended.succeeded:
        said = printable(ended.output.decode("utf-8", "replace").strip())
        raise NotNow(f"{program} {ended}" + (f": {said}" if said else ""))


NO_SENDMAIL = (
    f"there is no {SENDMAILS[0]}: apt install msmtp-mta (or another mail-transport-agent), "
    "or name a server by smtp="
)


def sendmail() -> str | None:
    """The local program, None when there is none."""
    return next((path for path in SENDMAILS if os.access(path, os.X_OK)), None)


async def _converse(message: EmailMessage, destination: Destination, host: Host) -> None:
    client = aiosmtplib.SMTP(
        hostname=destination.smtp_host,
        sock=await _connected(destination.smtp_host),
        local_hostname=host.name,
        timeout=ANSWER_S,
        use_tls=False,
        start_tls=False,
    )
    try:
        await client.connect()
        await client.sendmail(
            host.address, list(destination.recipients), message.as_bytes(policy=SMTP)
        )
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await client.quit()  # the mail is theirs already
    finally:
        client.close()


async def _connected(server: str) -> socket.socket:
    """A connection to the first of its addresses that takes one. Raises OSError, NotNow."""
    loop = asyncio.get_running_loop()
    try:
        # Not in the loop's executor: a resolver that hangs would hold up the end of the process.
        found = await in_thread(
            lambda: socket.getaddrinfo(server, SMTP_PORT, type=socket.SOCK_STREAM)
        )
    except socket.gaierror as error:
        raise NotNow(f"{server}: {str(error.strerror).lower()}") from error
    failure = OSError(f"{server} has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(ANSWER_S):
                await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def _verdict(code: int, text: str) -> Refused | NotNow:
    answer = f"{code} {printable(text)}"
    return Refused(answer) if 500 <= code < 600 else NotNow(answer)
