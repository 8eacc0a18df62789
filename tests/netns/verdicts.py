"""Runs inside a namespace: the servers of verdict_cases, the real ldirectord and onevip's probes.

python verdicts.py DIRECTORY  →  a JSON object: name of a case → [ldirectord, onevip, reason]
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

import parts  # noqa: E402
from certificates import Certificates, make_certificates  # noqa: E402
from netns.verdict_cases import CASES, Case  # noqa: E402
from onevip.health.matcher import Matcher  # noqa: E402
from onevip.health.prober import attempt  # noqa: E402
from onevip.health.probes import PROBES  # noqa: E402
from onevip.health.tools import Tools  # noqa: E402
from onevip.model import Check, Protocol, Tls, Verify  # noqa: E402
from scripted import answering, black_hole, check, refusing, serving  # noqa: E402

#: Each daemon checks its servers one after another, so the slow ones are shared out.
QUICK_DAEMONS, SLOW_DAEMONS = 2, 6
#: Time limits: of what must not reach it, on whatever machine, and of what does.
QUICK_S, SLOW_S = 15, 1
PATIENCE_S = 150
GLOBAL = """\
checktimeout=2
negotiatetimeout={limit_s}
checkinterval=1000
quiescent=no
logfile="{directory}/log"
"""
_LOOKED_AT = re.compile(r"check_http: https?://\S*?127\.0\.0\.1:(\d+)/\S* is (up|down)")
_MONITORED = re.compile(
    r"^\[[^]]*\] \[\d+\] negotiate \S+ \S+ \S+ (\d+) .*? \[(up|down)\]", re.MULTILINE
)


def key(case: Case) -> str:
    return f"{case.service}: {case.name}"


async def started(case: Case, servers: AsyncExitStack, certificates: Certificates) -> int:
    """Start the case's server; its port."""
    if case.server == "refusing":
        return await servers.enter_async_context(refusing())
    if case.server == "black hole":
        return await servers.enter_async_context(black_hole())
    if not inspect.iscoroutinefunction(case.server):
        return await servers.enter_async_context(answering(case.server))
    context = certificates.server(case.certificate) if case.certificate else None
    if context and case.sni:
        context.sni_callback = lambda _socket, name, _context: (
            None if name == case.sni else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        )
    return await servers.enter_async_context(serving(case.server, context))


def section(number: int, case: Case, port: int) -> str:
    own = ""
    if case.real:
        own = f' 1 "{case.real}", "THERE"'.replace("PORT", str(port))
    lines = [
        f"virtual=10.9.9.9:{number + 20000}",
        f"    real=127.0.0.1:{port} masq{own}",
        "    checktype=negotiate",
        f"    service={case.service}",
        *(f'    {name}="{value}"' for name, value in case.says.items() if name in QUOTED),
        *(f"    {name}={value}" for name, value in case.says.items() if name not in QUOTED),
    ]
    return "\n".join(lines).replace("PORT", str(port)) + "\n"


QUOTED = {"request", "receive", "virtualhost"}


def ldirectord(
    directory: Path, limit_s: int, sections: Iterable[str], ca: Path
) -> subprocess.Popen[bytes]:
    """Start one with these sections; it watches a table that is always empty."""
    directory.mkdir()
    (directory / "ipvsadm").symlink_to("/bin/true")
    monitor = f'    monitorfile="{directory}/monitor"\n'
    head = GLOBAL.format(directory=directory, limit_s=limit_s)
    (directory / "cf").write_text(head + "\n".join(each + monitor for each in sections))
    with (directory / "debug").open("wb") as debug:
        return subprocess.Popen(
            [parts.program("ldirectord"), "-d", str(directory / "cf"), "start"],
            cwd=directory,
            env={**parts.environment(), "LC_ALL": "C", "PERL_LWP_SSL_CA_FILE": str(ca)},
            stdin=subprocess.DEVNULL,
            stdout=debug,
            stderr=debug,
        )


def verdicts(directory: Path) -> dict[int, bool]:
    """By the server's port. A server that HTTP found silent is missing in the monitorfile."""
    found = {}
    for file, pattern in (("debug", _LOOKED_AT), ("monitor", _MONITORED)):
        if (path := directory / file).exists():
            for port, word in pattern.findall(path.read_text(errors="replace")):
                found[int(port)] = word == "up"
    return found


async def compared(directory: Path) -> dict[str, tuple[bool | None, bool, str]]:
    certificates = make_certificates(directory)
    ca = certificates.pem("ca")
    async with AsyncExitStack() as servers:
        ports = {key(case): await started(case, servers, certificates) for case in CASES}
        sections = [section(number, case, ports[key(case)]) for number, case in enumerate(CASES)]
        daemons: dict[Path, subprocess.Popen[bytes]] = {}
        try:
            for is_slow, number, limit_s in (
                (False, QUICK_DAEMONS, QUICK_S),
                (True, SLOW_DAEMONS, SLOW_S),
            ):
                chosen = [
                    text for text, case in zip(sections, CASES, strict=True) if case.slow is is_slow
                ]
                for share in range(number):
                    name = directory / f"{limit_s}-{share}"
                    daemons[name] = ldirectord(name, limit_s, chosen[share::number], ca)
            theirs = await awaited(daemons, set(ports.values()))
        finally:
            for daemon in daemons.values():
                daemon.kill()
                daemon.wait()
        matcher = Matcher()
        tools = Tools(matcher.search)
        checks = [check_of(case, ports[key(case)], ca) for case in CASES]
        ours = await asyncio.gather(
            *(attempt(each, each.service, PROBES, tools) for each in checks)
        )
        await matcher.close()
    return {
        key(case): (theirs.get(ports[key(case)]), outcome.healthy, outcome.reason)
        for case, outcome in zip(CASES, ours, strict=True)
    }


async def awaited(daemons: dict[Path, subprocess.Popen[bytes]], ports: set[int]) -> dict[int, bool]:
    """What they found, when all is found or will not be."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        running = [each for each in daemons.values() if each.poll() is None]
        found: dict[int, bool] = {}
        for directory in daemons:
            found |= verdicts(directory)
        if ports <= found.keys() or not running or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


def check_of(case: Case, port: int, ca: Path) -> Check:
    said = dict(case.says)
    protocol = Protocol.UDP if said.pop("protocol", "tcp") == "udp" else Protocol.TCP
    method = said.pop("httpmethod", "GET")
    request = said.pop("request", "")
    if case.real:
        request = case.real.replace("PORT", str(port))
        said["receive"] = "THERE"
    if not case.real.startswith("http:"):
        request = "/" + request.removeprefix("/")
    details = {"tls": Tls(Verify.CHAIN, str(ca)), "http_method": method, "protocol": protocol}
    limit_s = SLOW_S if case.slow else QUICK_S
    return check(case.service, port, limit_s, request=request, **details, **said)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(compared(Path(sys.argv[1])))))
