"""SMTP to port 25 of a server, without encryption and login: ldirectord does neither."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from email.message import EmailMessage

import aiosmtplib

from onevip.daemon.mail.carriers import NotNow, Refused
from onevip.daemon.mail.letter import Destination, Host
from onevip.daemon.threads import in_thread
from onevip.health.prober import printable, words

SMTP_PORT = 25
#: Of a whole session: a server that is slow on purpose (greet pause, grey listing) needs some.
SESSION_S = 60.0
ANSWER_S = 20.0


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
        await client.sendmail(host.address, list(destination.recipients), message.as_bytes())
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
