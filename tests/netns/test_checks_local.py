"""Pings and programs in network namespaces: a director and what it may find at the other end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netns.clusters import prefix
from onevip.lab.namespace import ENVIRONMENT, Namespace, is_running
from onevip.model import Protocol

HERE = Path(__file__).parent
PYTHONPATH = ":".join(str(path) for path in (HERE.parents[1] / "src", HERE.parent))
LIVE, DROPPING, PROHIBITED, DEAD = "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.9"
NO_ROUTE, BLACKHOLE, BEHIND, BY_MARK = "10.90.0.1", "10.91.0.1", "10.92.0.1", "10.93.0.1"
LIVE6, DROPPING6, DEAD6, BY_MARK6 = "fd77::2", "fd77::3", "fd77::9", "fd93::1"
MARK = 0x77
SERVER_RULES = f"""
table inet filter {{
    chain input {{
        type filter hook input priority 0;
        ip daddr {DROPPING} drop
        ip6 daddr {DROPPING6} icmpv6 type echo-request drop
        ip daddr {PROHIBITED} reject with icmp type admin-prohibited
    }}
}}
"""


class Found(NamedTuple):
    healthy: bool
    tried: bool
    reason: str
    seconds: float


class Place:
    """A director and the machine at the other end of its cable, which has many addresses."""

    def __init__(self) -> None:
        name = prefix()
        self.director = Namespace(f"{name}director")
        self.server = Namespace(f"{name}rs1")

    def build(self) -> None:
        for one in (self.director, self.server):
            one.create()
        self.director.ip(f"link add e0 type veth peer name e0 netns {self.server.name}")
        here = ["10.77.0.1/24", "fd77::1/64 nodad"]
        there = [f"{address}/24" for address in (LIVE, DROPPING, PROHIBITED)]
        there += [f"{address}/64 nodad" for address in (LIVE6, DROPPING6)]
        there += [f"{BY_MARK}/32", f"{BY_MARK6}/128 nodad"]
        for one, addresses in ((self.director, here), (self.server, there)):
            # A neighbour that does not answer is given up after 0.3 s instead of 3.
            one.sysctl(
                {
                    f"{family}/neigh/e0/{key}": value
                    for family in ("ipv4", "ipv6")
                    for key, value in (("retrans_time_ms", 100), ("delay_first_probe_time", 1))
                }
            )
            one.ip("link set lo up", "link set e0 up", *(f"addr add {a} dev e0" for a in addresses))
        self.director.ip(
            f"route add blackhole {BLACKHOLE}",
            f"route add {BEHIND} via {LIVE}",
            f"rule add fwmark {MARK} table 77",
            f"route add {BY_MARK} via {LIVE} table 77",
        )
        self.director.run("ip", "-6", "rule", "add", "fwmark", str(MARK), "table", "77")
        self.director.run("ip", "-6", "route", "add", BY_MARK6, "via", LIVE6, "table", "77")
        self.server.sysctl({"ipv4/ip_forward": 1})
        self.server.run("nft", "-f", "-", given=SERVER_RULES)

    def remove(self) -> None:
        for one in (self.director, self.server):
            one.remove()

    def python(self, *argv: str) -> list[str]:
        """The command line that runs Python with this tree in the director's namespace."""
        where = f"PYTHONPATH={PYTHONPATH}"
        return self.director.inside("env", where, sys.executable, "-W", "error", *argv)

    def probed(self, *checks: dict[str, Any], marks: dict[str, int] | None = None) -> list[Found]:
        return self._probed(self.python(str(HERE / "probing.py")), checks, marks or {})

    def probed_without(self, capability: str, *checks: dict[str, Any]) -> list[Found]:
        bare = ("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")
        return self._probed([*bare, *self.python(str(HERE / "probing.py"))], checks, {})

    def _probed(self, command: list[str], checks: Any, marks: dict[str, int]) -> list[Found]:
        done = subprocess.run(
            command,
            input=json.dumps({"checks": checks, "marks": marks}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=ENVIRONMENT,
        )
        assert not done.returncode, done.stderr
        return [Found(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    built = Place()
    try:
        built.build()
        yield built
    finally:
        built.remove()


def test_pings_tell_the_living_from_the_dead_and_say_why(place):
    targets = {
        LIVE: "answers pings",
        LIVE6: "answers pings",
        DROPPING: "timed out after 2 s",
        DROPPING6: "timed out after 2 s",
        DEAD: "the host is unreachable (says 10.77.0.1)",
        DEAD6: "the host is unreachable (says fd77::1)",
        PROHIBITED: f"it is forbidden by a filter (says {PROHIBITED})",
        BEHIND: f"its network is unreachable (says {LIVE})",
        NO_ROUTE: "no route to the network of the real server",
        BLACKHOLE: "the route to the real server is a blackhole",
    }
    found = place.probed(*({"address": address, "timeout_s": 2} for address in targets))
    assert {a: one.reason for a, one in zip(targets, found, strict=True)} == targets
    assert [one.healthy for one in found] == [True] * 2 + [False] * 8
    assert all(one.tried for one in found)


def test_each_try_has_its_time(place):
    [found] = place.probed({"address": DROPPING, "timeout_s": 0.2, "ping_count": 3})
    assert not found.healthy
    assert found.reason == "timed out after 0.6 s"
    assert found.seconds >= 0.59


def test_one_answered_try_of_several_is_enough(place):
    """The server drops the first requests only."""
    place.server.run(
        *("nft", "-f", "-"),
        given="add table inet first\n"
        "add chain inet first input { type filter hook input priority 1; }\n"
        f"add rule inet first input ip daddr {LIVE} icmp type echo-request"
        " limit rate over 1/hour burst 2 packets accept\n"
        f"add rule inet first input ip daddr {LIVE} icmp type echo-request drop\n",
    )
    try:
        [found] = place.probed({"address": LIVE, "timeout_s": 0.2, "ping_count": 5})
    finally:
        place.server.run("nft", "delete", "table", "inet", "first")
    assert found.healthy
    assert found.seconds >= 0.39


def test_pings_take_the_way_of_their_mark(place):
    checks = [{"address": address} for address in (BY_MARK, BY_MARK6)]
    unmarked = place.probed(*checks)
    marked = place.probed(*checks, marks={BY_MARK: MARK, BY_MARK6: MARK})
    assert [one.healthy for one in unmarked] == [False, False]
    assert [one.healthy for one in marked] == [True, True]


def test_many_dead_servers_leave_room_for_those_that_live(place):
    """Requests to the dead wait for ARP in the socket's buffer; there is one socket for all."""
    dead = [{"address": f"10.77.0.{n}"} for n in range(10, 250)] * 3
    live = [{"address": LIVE, "timeout_s": 5.0}] * 300
    found = place.probed(*dead, *live)
    assert not any(one.healthy for one in found[: len(dead)])
    assert {one.tried for one in found} == {True}
    assert all(one.healthy for one in found[len(dead) :])


def test_without_the_capability_nothing_is_said_of_servers(place):
    [found] = place.probed_without("net_raw", {"address": LIVE})
    assert (found.healthy, found.tried) == (False, False)
    assert found.reason.startswith("pings need CAP_NET_RAW: run the director as root")


def test_answers_to_others_are_ignored(place):
    """Two senders with one identifier and the same sequence numbers, one of them unanswered."""
    script = f"""
import asyncio, secrets
from ipaddress import ip_address
secrets.randbits = lambda bits, real=secrets.randbits: 7 if bits == 16 else real(bits)
from onevip.health.echoes import Echoes
async def main():
    first, second = Echoes(), Echoes()
    unanswered = [asyncio.create_task(second.ask(ip_address({DROPPING!r}))) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(*(first.ask(ip_address({LIVE!r})) for _ in range(50)))
    assert not any(task.done() for task in unanswered)
    for task in unanswered:
        task.cancel()
    await asyncio.gather(*unanswered, return_exceptions=True)
    first.close(), second.close()
asyncio.run(main())
"""
    done = subprocess.run(place.python("-c", script), capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_a_combined_check_over_udp_connects_where_there_is_a_route(place):
    udp = {"type": "connect", "protocol": Protocol.UDP}
    found = place.probed({**udp, "address": LIVE}, {**udp, "address": NO_ROUTE})
    assert [one.healthy for one in found] == [True, False]


class Daemon:
    """A running checking_daemon.py, its words as they come."""

    def __init__(self, place: Place, run_directory: Path, checks: list[dict[str, Any]]) -> None:
        self.process = subprocess.Popen(
            place.python("-u", str(HERE / "checking_daemon.py"), str(run_directory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self.process.stdin is not None
        with self.process.stdin:
            json.dump(checks, self.process.stdin)
        self._patience = threading.Timer(30, self.process.kill)
        self._patience.start()

    def close(self) -> None:
        self._patience.cancel()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def says(self, *parts: str) -> dict[str, str]:
        """Reads on until each of these was part of a line; the lines."""
        seen: dict[str, str] = {}
        assert self.process.stdout is not None
        while len(seen) < len(parts):
            line = self.process.stdout.readline()
            assert line, f"the daemon ended; of {parts} it said {seen}"
            seen |= {part: line for part in parts if part in line}
        return seen


@pytest.fixture
def daemon(place, tmp_path):
    started: list[Daemon] = []

    def start(*checks: dict[str, Any]) -> Daemon:
        started.append(Daemon(place, tmp_path, list(checks)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def script(tmp_path):
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_whole_daemon_checks_by_pings_and_programs_and_leaves_none(
    place, daemon, script, tmp_path, sign
):
    pids = tmp_path / "pids"
    hang = f"#!/bin/sh\ntrap '' TERM\necho $$ >> {pids}\nsleep 100 & echo $! >> {pids}\nsleep 101"
    running = daemon(
        {"address": LIVE},
        {"address": DROPPING, "timeout_s": 0.2},
        {"type": "external", "address": LIVE, "command": script("up", "#!/bin/sh\nexit 0")},
        {"type": "external", "address": LIVE, "command": script("hang", hang), "timeout_s": 0.3},
        {"type": "external", "address": LIVE, "command": script("slow", hang), "timeout_s": 60},
        {"type": "external-perl", "address": LIVE, "command": script("down.pl", "exit 2;")},
    )
    seen = running.says(*(f"192.0.2.1:{1000 + number} is " for number in (0, 1, 2, 3, 5)))
    assert [line.split(" is ")[1].partition(":")[0] for _, line in sorted(seen.items())] == [
        *("up", "down", "up", "down", "down")
    ]
    os.kill(running.process.pid, sign)
    running.process.wait(10)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) >= 4
    # One that stops has waited for them, one that is killed has not.
    deadline = time.monotonic() + (10 if sign is signal.SIGKILL else 0)
    while any(is_running(pid) for pid in started):
        assert time.monotonic() < deadline, started
        time.sleep(0.01)
