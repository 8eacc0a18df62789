"""A whole ldirectord.cf: lines into sections, sections into services. Pure but for `load`."""

from __future__ import annotations

import stat
from pathlib import Path

from onevip.config import directives as d
from onevip.config import head as heads
from onevip.config import names, sections
from onevip.config.directives import Given
from onevip.config.head import Head
from onevip.config.lines import Section, split
from onevip.config.names import PortOf, Resolve
from onevip.config.place import Place, Source
from onevip.model import ConfigError, Configuration, ConfiguredService, ServiceKey


def load(path: str | Path) -> Configuration:
    """Read and parse a file. Raises ConfigError; line 0 when it cannot be read."""
    try:
        # A pipe could be waited for, and a second look at it would find nothing.
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ConfigError(str(path), 0, "is no regular file", "write it to one")
        # As bytes: universal newlines would hide a carriage return, which ldirectord sees.
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(str(path), 0, f"cannot be read: {error.strerror}") from error
    return parse(text, str(path))


def parse(
    text: str,
    file: str,
    *,
    resolve: Resolve = names.resolve,
    port_of: PortOf = names.port_of,
) -> Configuration:
    """The configuration that the text describes. Raises ConfigError for the first line that fails.

    Global directives may stand anywhere and apply to all sections (spec ldirectord §3.5).
    """
    source = Source(file, resolve, port_of)
    globally = Given()
    read: list[tuple[Section, Place, Head, Given]] = []
    for part in split(text):
        if not isinstance(part, Section):
            globally.take(Place(source, part, in_section=False))
            continue
        place = Place(source, part.head, in_section=False)
        head = heads.read(place)
        given = Given(globally)
        for line in part.body:
            given.take(Place(source, line, in_section=True, of_mark=head.mark > 0))
        read.append((part, place, head, given))

    services: dict[ServiceKey, ConfiguredService] = {}
    for part, place, head, given in read:
        service = sections.service(place, head, given)
        if service.key in services:
            raise place.error(
                "duplicate virtual server",
                f"{service.key} stands in line {services[service.key].line} and {service.line}",
                line=part.last_line_read,
            )
        services[service.key] = service
    return Configuration(
        file=file,
        services=tuple(services.values()),
        autoreload=globally.get(d.AUTORELOAD) or False,
        check_interval_s=sections.check_interval_s(globally),
        is_blank=not text.strip(),
        warnings=tuple(source.warnings),
    )
