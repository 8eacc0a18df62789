"""emailalert: mails about real servers that go down and come back. Never holds up a check."""

from onevip.daemon.mail.alerts import MailAlerts

__all__ = ["MailAlerts"]
