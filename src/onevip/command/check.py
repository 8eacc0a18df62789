"""`onevip check FILE`: everything that is wrong with an ldirectord.cf, and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from onevip import config
from onevip.command import understood
from onevip.command.environment import Environment
from onevip.config import needs
from onevip.config.place import ConfigWarning
from onevip.health.probes import PROBES
from onevip.model import CheckType, ConfigError, Configuration, UsageError

USAGE = """\
usage: onevip check [--json] FILE

Reads an ldirectord.cf as `onevip run` does. Prints each error and warning with its place, what this
machine lacks for it, and what the file means. Nothing is changed, no server is asked.
Exit status: 0 when the file can be used, 1 when it cannot.
"""

Said = ConfigError | ConfigWarning


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Check one file; the exit status. Raises UsageError."""
    environment = environment or Environment()
    if argv and argv[0] in ("-h", "--help"):
        environment.stdout.write(USAGE)
        return 0
    as_json = argv[:1] == ["--json"]
    files = argv[1:] if as_json else argv
    files = files[1:] if files[:1] == ["--"] else files
    if len(files) != 1:
        raise UsageError("check takes one file: onevip check /etc/ha.d/ldirectord.cf")
    findings = _findings(files[0])
    if as_json:
        print(json.dumps(_as_json(findings), indent=2), file=environment.stdout)
    else:
        for line in _lines(findings):
            # What is no UTF-8 in the file must not end the printing.
            text = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            print(text, file=environment.stdout)
    return 0 if findings.configuration else 1


class Findings(NamedTuple):
    """All that there is to say of a file."""

    file: str
    configuration: Configuration | None
    errors: Sequence[ConfigError]
    warnings: Sequence[ConfigWarning] = ()
    lines: Sequence[str] = ()
    missing: Sequence[str] = ()


def _findings(file: str) -> Findings:
    try:
        reading = config.read_file(file)
    except ConfigError as error:  # of the file as a whole
        return Findings(file, None, [error])
    found = reading.configuration
    missing = [*needs.missing(found), *unchecked(found)] if found else []
    return Findings(file, found, reading.errors, reading.warnings, reading.lines, missing)


def _lines(findings: Findings) -> Iterator[str]:
    for error in _in_order(findings.errors):
        yield from _shown("error", error, findings.lines)
    for warning in _in_order(findings.warnings):
        yield from _shown("warning", warning, findings.lines)
    for sentence in findings.missing:
        yield f"{findings.file}: missing: {sentence}"
    if findings.configuration:
        yield from understood.lines(findings.configuration)
        return
    count = len(findings.errors)
    yield f"{findings.file}: {count} error{'s'[: count > 1]}, the file cannot be used"


def unchecked(configuration: Configuration) -> Iterator[str]:
    """A sentence for each service whose real servers cannot be asked."""
    for service in configuration.services:
        names = {name for server in service.real_servers for name in server.check.probes}
        for name in sorted(names - set(PROBES)):
            kind = "checktype" if name in {one.value for one in CheckType} else "service"
            yield (
                f"onevip cannot check {kind}={name} yet: the real servers of {service.key} count "
                "as down"
            )


def _in_order(said: Sequence[Said]) -> list[Said]:
    return sorted(said, key=lambda one: (one.line, one.column))


def _shown(kind: str, one: Said, lines: Sequence[str]) -> Iterator[str]:
    """`lb.cf:3:5: error: invalid port`, the line, a caret under what is wrong, a hint."""
    place = one.file
    if one.line:
        place += f":{one.line}" + (f":{one.column}" if one.column else "")
    yield f"{place}: {kind}: {one.message}"
    if 0 < one.line <= len(lines) and one.column:
        line = lines[one.line - 1].rstrip("\r")
        yield f"    {line}"
        # A tab takes the same place above and below.
        before = "".join("\t" if char == "\t" else " " for char in line[: one.column - 1])
        yield f"    {before}{'^' * max(1, len(one.text))}"
    if isinstance(one, ConfigError) and one.hint:
        yield f"    {one.hint}"


def _as_json(findings: Findings) -> dict[str, Any]:
    found = findings.configuration
    return {
        "version": 1,
        "file": findings.file,
        "good": found is not None,
        "errors": [_one_as_json(one) for one in _in_order(findings.errors)],
        "warnings": [_one_as_json(one) for one in _in_order(findings.warnings)],
        "missing": findings.missing,
        "configuration": understood.as_json(found) if found else None,
    }


def _one_as_json(one: Said) -> dict[str, str | int | bool]:
    return {
        "line": one.line,
        "column": one.column,
        "text": one.text,
        "message": one.message,
        "hint": one.hint if isinstance(one, ConfigError) else "",
        "known_to_ldirectord": not one.ours,
    }
