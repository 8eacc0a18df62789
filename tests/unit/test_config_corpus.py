"""Files found in the wild, and malformed ones, against what the real ldirectord made of them.

The corpus lies beside the repository or where ONEVIP_FIXTURES says; without it: skipped.
"""

from __future__ import annotations

import io
import json
import os
import re
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.command.environment import Environment
from onevip.command.ipvsadm import main as ipvsadm
from onevip.config import names, parse
from onevip.daemon.wanted import wanted
from onevip.engines.memory import MemoryEngine
from onevip.health import Verdict
from onevip.model import Check, CheckType, ConfigError, Configuration, Table

_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
CORPUS = Path(os.environ.get("ONEVIP_FIXTURES", _BESIDE)) / "ldirectord"
if not CORPUS.is_dir():
    pytest.skip("the corpus of configurations is not here", allow_module_level=True)

EXPECTED = json.loads((CORPUS / "expected.json").read_text())
MALFORMED = json.loads((CORPUS / "malformed" / "expected.json").read_text())
WITHIN_THIS_VERSION = {
    "bash-tabs-ok.cf", "cn-minimal-dr.cf", "rails-fwmark-tmpl.cf", "syn-range-names.cf",
    "upstream-00-http.cf", "upstream-14-none.cf",
}  # fmt: skip
HOSTS = {
    name: address
    for address, *hosts in map(str.split, (CORPUS / "hosts").read_text().splitlines())
    for name in hosts
    if ":" not in address
}


def resolve(host: str) -> IPv4Address | None:
    try:
        return IPv4Address(HOSTS.get(host, host))
    except ValueError:
        return None


def read(path: Path) -> Configuration | ConfigError:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    try:
        return parse(text, path.name, resolve=resolve, port_of=names.port_of)
    except ConfigError as error:
        return error


def words(error: ConfigError) -> str:
    return f"Error [PID] reading file FILE at line {error.line}: {error.message}"


def refused(recorded: str) -> str:
    """The message without pid and path. The real program prints the line's end in its quotes."""
    text = re.sub(r"\[\d+\] reading file \S+ at", "[PID] reading file FILE at", recorded)
    return text.replace("\n", "").rstrip()


def is_later(error: ConfigError) -> bool:
    return "not supported yet" in error.message


def table(configuration: Configuration, *, up: bool) -> list[str]:
    """The lines of `ipvsadm -L -n` with every real server up, or down."""

    def verdict(check: Check) -> Verdict:
        fixed = {CheckType.ON: Verdict.UP, CheckType.OFF: Verdict.DOWN}
        return fixed.get(check.type, Verdict.UP if up else Verdict.DOWN)

    servers = [server for service in configuration.services for server in service.real_servers]
    verdicts = {server.check: verdict(server.check) for server in servers}
    engine = MemoryEngine(wanted(configuration, verdicts, Table.of()))
    out = io.StringIO()
    assert ipvsadm(["-L", "-n"], Environment(stdout=out, engine=lambda: engine)) == 0
    return listed(out.getvalue().splitlines())


def listed(lines: list[str]) -> list[str]:
    """The rows of a listing, sorted: those of a service need not stand in its order."""
    return sorted(line for line in lines[3:] if line.strip())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_from_the_wild_is_read_as_ldirectord_reads_it(name):
    expected = EXPECTED[name]
    configuration = read(CORPUS / "config" / name)
    if isinstance(configuration, ConfigError):
        if is_later(configuration):  # right, but not for what this version has
            assert name not in WITHIN_THIS_VERSION
        else:
            assert refused(expected["parsed"]["error"]) == words(configuration)
        return
    assert expected["up"]["exit"] == 0
    for state in ("up", "down"):
        assert table(configuration, up=state == "up") == listed(expected[state]["table"])
    reals = [real for virtual in expected["parsed"]["virtual"] for real in virtual["real"]]
    servers = [server for service in configuration.services for server in service.real_servers]
    for real, server in zip(reals, servers, strict=True):
        assert (real["server"], int(real["weight"])) == (
            str(server.real.address),
            server.real.weight,
        )
        if server.check.type.value == "http":
            assert (real["request"], real["receive"]) == (
                server.check.request,
                server.check.receive,
            )


@pytest.mark.parametrize(
    "name",
    [
        "large-hosting.cf", "linux-help-wrr.cf", "mandic-connect.cf", "puppet-module.cf",
        "rust-sample-fixed.cf", "syn-dns-both.cf", "upstream-04-smtp.cf",
        "upstream-06-pop.cf", "upstream-sample.cf",
    ],
)  # fmt: skip
def test_services_of_the_wild_have_their_options(name):
    """Without directives that are not there yet and do not bear on the table of a good day."""
    text = (CORPUS / "config" / name).read_text()
    text = re.sub(
        r"^[ \t]*(logfile|callback|email\w+|fork|readdquiescent|servicename|comment|login|passwd"
        r"|database|checkcommand|service|checktype *= *(external|connect))\b.*$",
        "#",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^(virtual *=.*)$", r"\1\n    service=none", text, flags=re.MULTILINE)
    configuration = parse(text, name, resolve=resolve, port_of=names.port_of)
    assert table(configuration, up=True) == listed(EXPECTED[name]["up"]["table"])


@pytest.mark.parametrize("name", sorted(set(MALFORMED) - {"missing-file"}))
def test_a_malformed_file_is_refused_in_the_same_line_with_the_same_words(name):
    expected = MALFORMED[name]
    result = read(CORPUS / "malformed" / f"{name}.cf")
    if isinstance(result, Configuration):
        assert expected["accepted"]
    elif not is_later(result):
        assert message(name, expected["messages"]) == words(result)


def message(name: str, messages: list[str]) -> str:
    """The last message. The real program prints the line end of the file inside its quotes."""
    text = messages[-2] + '"' if messages[-1] == '"' else messages[-1]
    # That recording dropped the blanks.
    return text.replace('""', '"     "') if name == "five-spaces-only-line" else text
