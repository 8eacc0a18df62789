"""What an ldirectord.cf asks for. Values only; `config.parse` makes them from text."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property

from onevip.model.check import Check
from onevip.model.service import PLAIN, RealServer, RealServerKey, ServiceKey, ServiceOptions


class Phase(enum.Enum):
    """What a daemon is about: ldirectord's words in mails, and of `emailalertstatus`."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RELOADING = "reloading"


@dataclass(frozen=True, slots=True)
class MailAlert:
    """`emailalert…` of a service, or of the whole file: who hears by mail, and when."""

    to: tuple[str, ...]
    sender: str = ""  # emailalertfrom; "": user@host of the daemon
    phases: frozenset[Phase] = frozenset(Phase)
    repeat_s: float = 0.0  # emailalertfreq: so often again while a server is down, 0: once
    smtp_host: str = ""  # "": the local sendmail


@dataclass(frozen=True, slots=True)
class ConfiguredRealServer:
    """A `real=` line: the real server at its full weight, and how it is checked."""

    real: RealServer
    check: Check
    host: str = ""  # as written, when that is a name: a maintenance file may be called so
    line: int = 0


@dataclass(frozen=True, slots=True)
class ConfiguredService:
    """A `virtual=` section with all defaults resolved."""

    key: ServiceKey
    scheduler: str
    real_servers: tuple[ConfiguredRealServer, ...]
    fallback: RealServer | None = None
    quiescent: bool = False
    cleanstop: bool = True
    options: ServiceOptions = PLAIN
    line: int = 0  # where the section begins, for messages
    fallback_command: str = ""  # a shell's command line
    mail: MailAlert | None = None
    monitor_file: str = ""
    service_name: str = ""  # for people, in mails
    comment: str = ""  # likewise

    @property
    def id(self) -> str:
        """ldirectord's name of it in logs: `tcp:192.0.2.1:80`, `fwm:7`, `fwm6:7`."""
        if self.key.mark:
            return f"fwm{'6' if self.key.address.version == 6 else ''}:{self.key.mark}"
        host = f"[{self.key.address}]" if self.key.address.version == 6 else str(self.key.address)
        return f"{self.key.protocol.name.lower()}:{host}:{self.key.port}"


@dataclass(frozen=True)  # without slots: it keeps what it has looked up
class Configuration:
    """A whole ldirectord.cf."""

    file: str
    services: tuple[ConfiguredService, ...]
    autoreload: bool = False
    check_interval_s: float = 10.0  # also how often autoreload looks at the file
    is_blank: bool = False  # not even a comment: nobody meant it so
    warnings: tuple[str, ...] = field(default=(), compare=False)  # "file:line: sentence"
    callback: str = ""  # program that is told of a changed file
    log_file: str = "/var/log/ldirectord.log"  # or, without a leading slash, a syslog facility
    children: tuple[str, ...] = ()  # execute=: instances to start and stop with this one
    supervised: bool = False
    fork: bool = False
    readd_quiescent: bool = False
    maintenance_dir: str = ""
    mail: MailAlert | None = None  # for what concerns no single service

    def service(self, key: ServiceKey) -> ConfiguredService | None:
        """The service of this key, or None."""
        return self._services.get(key)

    def real_server(self, service: ServiceKey, key: RealServerKey) -> ConfiguredRealServer | None:
        """The first line of this real server in the service, or None."""
        return self._real_servers.get((service, key))

    # A thousand real servers may change at once, and several listeners look for each.

    @cached_property
    def _services(self) -> dict[ServiceKey, ConfiguredService]:
        return {service.key: service for service in reversed(self.services)}

    @cached_property
    def _real_servers(self) -> dict[tuple[ServiceKey, RealServerKey], ConfiguredRealServer]:
        return {
            (service.key, server.real.key): server
            for service in reversed(self.services)
            for server in reversed(service.real_servers)
        }
