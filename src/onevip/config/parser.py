"""A whole ldirectord.cf: lines into sections, sections into services. Pure but for `load`, and for
what it asks of the `World`."""

from __future__ import annotations

from pathlib import Path

from onevip.config import checks, safety, sections
from onevip.config import directives as d
from onevip.config.given import Given
from onevip.config.lines import Section, hidden, split
from onevip.config.mails import mail_alert
from onevip.config.place import Place, Source
from onevip.config.reading import Reading
from onevip.config.sections import SectionRead
from onevip.config.world import THIS_MACHINE, World
from onevip.model import ConfigError, Configuration, ConfiguredService

DEFAULT_LOG_FILE = "/var/log/ldirectord.log"


def load(path: str | Path) -> Configuration:
    """Read and parse a file. Raises ConfigError; line 0 when it cannot be read or trusted."""
    return read_file(path).result()


def parse(text: str, file: str, world: World = THIS_MACHINE) -> Configuration:
    """The configuration that the text describes. Raises ConfigError: ldirectord's first one."""
    return read(text, file, world).result()


def read_file(path: str | Path, world: World = THIS_MACHINE) -> Reading:
    """Read a file. What is wrong inside is in the Reading; raises ConfigError, with line 0, when
    the file cannot be read or trusted."""
    found = safety.opened(path)
    return read(found.text, str(path), world, world_readable=found.is_world_readable)


def read(
    text: str, file: str, world: World = THIS_MACHINE, *, world_readable: bool = False
) -> Reading:
    """What the text says, and all that is wrong with it.

    Global directives may stand anywhere and apply to all sections (spec ldirectord §3.5).
    """
    source = Source(file, world)
    globally = Given()
    read_sections = tuple(_lines_read(text, source, globally))
    services = tuple(_services(read_sections, source))
    if world_readable:
        _warn_of_secrets(read_sections)
    is_good = not any(isinstance(one, ConfigError) for one in source.said)
    configuration = _configuration(text, source, globally, services) if is_good else None
    return Reading(
        file=file,
        configuration=configuration,
        said=tuple(source.said),
        lines=tuple(hidden(line) for line in text.split("\n")),
        globally=globally,
        sections=read_sections,
    )


def _lines_read(text: str, source: Source, globally: Given) -> list[SectionRead]:
    """Everything that ldirectord itself would refuse is found here, in its order."""
    found: list[SectionRead] = []
    first_of: dict[str, SectionRead] = {}
    for part in split(text):
        if isinstance(part, Section):
            section = sections.read(part, source, globally)
            found.append(section)
            same = first_of.setdefault(section.id, section) if section.key else section
            if same is not section or (section.is_good and part.is_last_line):
                section.is_good = False
                source.said.append(_duplicate(section, same, part))
            continue
        supervised = globally.get(d.SUPERVISED) is True
        try:
            globally.take(Place(source, part, in_section=False, supervised=supervised))
        except ConfigError as error:
            source.said.append(error)
    return found


def _duplicate(section: SectionRead, same: SectionRead, part: Section) -> ConfigError:
    one, other = same.place.line.number, section.place.line.number
    hint = (
        f"{section.id} stands in line {one} and {other}"
        if same is not section
        # sic: at the end of the file ldirectord reads such a line twice
        else "the section is empty: give it a real server in the next line"
    )
    return section.place.error("duplicate virtual server", hint, line=part.last_line_read)


def _services(read_sections: tuple[SectionRead, ...], source: Source) -> list[ConfiguredService]:
    services = []
    for section in read_sections:
        if section.key is None or not section.is_good:
            continue
        try:
            services.append(sections.service(section, section.key))
        except ConfigError as error:
            source.said.append(error)
    return services


def _warn_of_secrets(read_sections: tuple[SectionRead, ...]) -> None:
    for section in read_sections:
        for directive in (d.PASSWD, d.SECRET):
            if place := section.given.place(directive):
                place.warn(
                    f"everybody on this machine may read this {directive.name}: chmod o-r "
                    f"{place.source.file}"
                )
                return


def _configuration(
    text: str, source: Source, globally: Given, services: tuple[ConfiguredService, ...]
) -> Configuration:
    log_file = globally.get(d.LOGFILE)
    return Configuration(
        file=source.file,
        services=services,
        autoreload=globally.get(d.AUTORELOAD) or False,
        check_interval_s=checks.check_interval_s(globally),
        is_blank=not text.strip(),
        warnings=tuple(str(one) for one in source.said),
        callback=globally.get(d.CALLBACK) or "",
        log_file=DEFAULT_LOG_FILE if log_file is None else log_file,
        children=tuple(globally.children),
        supervised=globally.get(d.SUPERVISED) or False,
        fork=globally.get(d.FORK) or False,
        readd_quiescent=globally.get(d.READDQUIESCENT) or False,
        maintenance_dir=globally.get(d.MAINTENANCEDIR) or "",
        mail=mail_alert(globally),
    )
