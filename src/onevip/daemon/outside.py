"""Everything that a daemon does outside the table: mails, monitor files, programs."""

from __future__ import annotations

from onevip.daemon.events import Listener
from onevip.daemon.mail import MailAlerts
from onevip.daemon.monitor import MonitorFiles
from onevip.daemon.programs import Callback, FallbackCommands, Instances


def listeners() -> tuple[Listener, ...]:
    """Every daemon needs these, whatever its log looks like. Idle unless the file asks for them."""
    return (Instances(), FallbackCommands(), Callback(), MonitorFiles(), MailAlerts())
