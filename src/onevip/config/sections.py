"""One `virtual=` section: read as ldirectord reads it, then made a ConfiguredService with all
defaults resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onevip.config import checks, servers
from onevip.config import directives as d
from onevip.config import head as heads
from onevip.config.fallbacks import FallbackLine
from onevip.config.given import Given
from onevip.config.head import Head
from onevip.config.lines import Section
from onevip.config.mails import mail_alert
from onevip.config.options import options as section_options
from onevip.config.place import Place, Source
from onevip.config.servers import RealLine
from onevip.model import (
    ConfigError,
    ConfiguredRealServer,
    ConfiguredService,
    ForwardingMethod,
    RealServer,
    ServiceKey,
)


@dataclass(slots=True)
class SectionRead:
    """What one section says, before the global lines are known that complete it."""

    place: Place
    given: Given
    head: Head
    protocol: str = "tcp"
    key: ServiceKey | None = None
    reals: list[RealLine] = field(default_factory=list)
    is_good: bool = True

    @property
    def id(self) -> str:
        """`tcp:192.0.2.1:80`, as ConfiguredService.id."""
        return ConfiguredService(self.key, "", ()).id if self.key else ""


def read(part: Section, source: Source, globally: Given) -> SectionRead:
    """Reads all of it, in ldirectord's order: the lines, then names of hosts and ports.

    What is wrong goes to `source.said`.
    """
    place = Place(source, part.head, in_section=False)
    section = SectionRead(place, Given(globally), Head())

    def attempt(errors: Iterator[ConfigError]) -> None:
        for error in errors:
            section.is_good = False
            source.said.append(error)

    attempt(_read_head(section))
    attempt(_read_lines(section, part))
    attempt(_look_names_up(section))
    return section


def _read_head(section: SectionRead) -> Iterator[ConfigError]:
    try:
        section.head = heads.read(section.place)
    except ConfigError as error:
        yield error


def _read_lines(section: SectionRead, part: Section) -> Iterator[ConfigError]:
    head = section.head
    for line in part.body:
        place = Place(
            section.place.source,
            line,
            in_section=True,
            of_mark=bool(head.mark),
            version=6 if part.head.raw.startswith("virtual6") else 4,
        )
        try:
            section.given.take(place)
        except ConfigError as error:
            yield error


def _look_names_up(section: SectionRead) -> Iterator[ConfigError]:
    head, given = section.head, section.given
    section.protocol = head.protocol(given.get(d.PROTOCOL))
    try:
        if line := own_fallback(section):
            line.address(head.version)
            line.port(section.protocol)
    except ConfigError as error:
        yield error
    try:
        if head != Head():
            section.key = head.key(section.place, section.protocol)
    except ConfigError as error:
        yield error
    for value, place in given.reals:
        try:
            section.reals.append(servers.real(value, place))
        except ConfigError as error:
            yield error


def own_fallback(section: SectionRead) -> FallbackLine | None:
    """The section's own fallback line."""
    return section.given.get(d.FALLBACK6 if section.head.version == 6 else d.FALLBACK)


def service(section: SectionRead, key: ServiceKey) -> ConfiguredService:
    """The service that a good section describes. Raises ConfigError, of what no table can hold."""
    place, given = section.place, section.given
    scheduler = given.get(d.SCHEDULER) or "wrr"
    options = section_options(key, scheduler, given)
    if not key.mark and key.port == 0 and not options.persistent_s:
        raise place.refusal("port 0 (all ports) needs persistence", "as in persistent=600")
    return ConfiguredService(
        key=key,
        scheduler=scheduler,
        options=options,
        real_servers=_real_servers(section, key),
        fallback=_fallback(section, key),
        quiescent=given.either(d.QUIESCENT) is True,
        cleanstop=given.either(d.CLEANSTOP) is not False,
        line=place.line.number,
        fallback_command=given.either(d.FALLBACKCOMMAND) or "",
        mail=mail_alert(given),
        monitor_file=given.get(d.MONITORFILE) or "",
        service_name=given.get(d.SERVICENAME) or "",
        comment=given.get(d.COMMENT) or "",
    )


def _fallback(section: SectionRead, key: ServiceKey) -> RealServer | None:
    version = section.head.version
    of_version = d.FALLBACK6 if version == 6 else d.FALLBACK
    line = section.given.either(of_version)
    if line is None:
        return None
    # A mark has no protocol: then a global line's named port is TCP's.
    is_own = line is own_fallback(section)
    protocol = section.protocol if is_own or not key.mark else "tcp"
    port = _table_port(key, line.port(protocol) or key.port, line.method)
    return RealServer(line.address(version), port, line.method, weight=1)


def _table_port(key: ServiceKey, port: int, method: ForwardingMethod) -> int:
    """gate and ipip deliver the packet as it came: IPVS stores the virtual port (spec §5.2).

    A firewall mark has none: then the port stays as it was given.
    """
    return port if key.mark or method is ForwardingMethod.MASQ else key.port


def _real_servers(section: SectionRead, key: ServiceKey) -> tuple[ConfiguredRealServer, ...]:
    kind = checks.kind(section.given, section.place, key)
    found: dict[object, ConfiguredRealServer] = {}
    for line in section.reals:
        port = _table_port(key, line.port or key.port, line.method)
        for address in line.addresses:
            if line.port and port != line.port:
                line.place.warn(
                    f"{line.method.name.lower()} cannot change the port: the table holds "
                    f"{address}:{port} instead of {address}:{line.port}"
                )
            real = RealServer(
                address,
                port,
                line.method,
                line.weight,
                line.upper_threshold,
                line.lower_threshold,
            )
            if real.key in found:
                line.place.warn(f"{real.key} stands twice in {key}: this line is the one used")
            check = checks.check(kind, section.given, key, line, real)
            found[real.key] = ConfiguredRealServer(real, check, line.host, line.place.line.number)
    return tuple(found.values())
