"""How a mail leaves this machine: by SMTP to port 25 of a server, or by the local sendmail."""

# ruff: noqa: PLC0415 - a carrier and its library are loaded when there is something to carry.

from __future__ import annotations

from email.message import EmailMessage

from onevip.daemon.mail.letter import Destination, Host
from onevip.model import OnevipError


class Refused(OnevipError):
    """This mail will never be taken: trying again is in vain."""


class NotNow(OnevipError):
    """It may be taken later."""


async def carry(message: EmailMessage, destination: Destination, host: Host) -> None:
    """Hand the mail on, one attempt, limited in time. Raises Refused, NotNow."""
    if not destination.smtp_host:
        from onevip.daemon.mail.sendmail import by_sendmail

        await by_sendmail(message)
        return
    try:
        from onevip.daemon.mail.smtp import by_smtp
    except ImportError as error:
        hint = "apt install python3-aiosmtplib"
        raise Refused(f"smtp= needs the Python module aiosmtplib: {hint}") from error
    await by_smtp(message, destination, host)
