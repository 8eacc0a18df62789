"""Alerts as mails: subject and body as ldirectord writes them (spec ldirectord §6). Pure.

Names, comments and reasons come from files and servers: none of them can add a header or a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from onevip.model import Phase

#: An SMTP line holds 998 characters (RFC 5322 §2.1.1); header and sentence share one.
LONGEST = 900
_LINE = 998


@dataclass(frozen=True, slots=True)
class Host:
    """Who writes: `user` and `name` are the daemon's user and this machine's host name."""

    user: str
    name: str

    @property
    def address(self) -> str:
        """What ldirectord gives as envelope sender."""
        return f"{self.user}@{self.name}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where alerts go. By SMTP each address has its own, so that none waits for another's.

    `to`: all who are addressed; `recipients`: those that this mail is delivered to.
    """

    to: tuple[str, ...]
    recipients: tuple[str, ...]
    sender: str  # of the header From, "": user@host
    smtp_host: str  # "": the local sendmail


@dataclass(frozen=True, slots=True)
class Alert:
    """One sentence for somebody. `at_s`: when, seconds since 1970."""

    sentence: str
    phase: Phase
    at_s: float
    message_id: str
    service_name: str = ""
    comment: str = ""
    reason: str = ""

    @property
    def subject(self) -> str:
        name = f"[{self.service_name}] " if self.service_name else ""
        return one_line(name + self.sentence)


def letter(
    alerts: Sequence[Alert], destination: Destination, host: Host, left_out: int = 0
) -> EmailMessage:
    """The mail about these alerts; about a single one it has ldirectord's form.

    `left_out`: how many came before them and are mentioned only.
    """
    first = alerts[0]
    subject = first.subject
    if others := len(alerts) - 1 + left_out:
        subject += f" and {others} more"
    body = _body_of_many(alerts, host) if len(alerts) > 1 else _body_of_one(first, host)
    if left_out:
        body += f"\n{left_out} earlier messages are left out.\n"
    sender = one_line(destination.sender) or (host.address if destination.smtp_host else "")
    message = _message(sender, is_plain=(subject + sender + body).isascii())
    message["To"] = ", ".join(one_line(address) for address in destination.to)
    message["Subject"] = subject
    message["Date"] = formatdate(first.at_s, localtime=True)
    message["Message-ID"] = first.message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers of absent people
    message.set_content(body, cte="7bit" if body.isascii() else "quoted-printable")
    return message


def one_line(text: str) -> str:
    """Without line ends and other control characters, and not too long."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = "".join(char if char.isprintable() else " " for char in text).strip()
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _message(sender: str, *, is_plain: bool) -> EmailMessage:
    # ldirectord folds no header; encoded words and lines (RFC 2047, 2045) have to be short.
    policy = SMTP.clone(max_line_length=_LINE if is_plain else 78, cte_type="7bit")
    message = EmailMessage(policy=policy)
    if sender:
        message["From"] = sender
    return message


def _body_of_one(alert: Alert, host: Host) -> str:
    details = []
    if alert.service_name:
        details.append(f"Service name: {one_line(alert.service_name)}\n")
    if alert.comment:
        details.append(f"Comment: {one_line(alert.comment)}\n")
    more = "\n" + "".join(details) + "\n" if details else ""
    return f"ldirectord host: {host.name}\n{_block(alert)}{more}"


def _body_of_many(alerts: Sequence[Alert], host: Host) -> str:
    return f"ldirectord host: {host.name}\n" + "\n".join(_block(alert) for alert in alerts)


def _block(alert: Alert) -> str:
    reason = f"Reason: {one_line(alert.reason)}\n" if alert.reason else ""
    return f"Log-Message: {alert.subject}\nDaemon-Status: {alert.phase.value}\n{reason}"
