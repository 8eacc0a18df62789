"""What the test folders need, and what no test may leave behind.

tests/unit needs nothing, tests/model needs spin and gcc, tests/packet needs CAP_BPF, tests/netns
needs network namespaces. What is missing skips with a sentence;
ONEVIP_REQUIRE=model,packet,netns,vm turns such skips into failures.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
BPF_MAP_CREATE = 0
CLONE_NEWNET = 0x40000000


@cache
def bpf_refused() -> str | None:
    """Why this process may not use BPF, found by creating a map; None when it may."""
    number = BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"the BPF system call's number on {platform.machine()} is not known"
    # union bpf_attr: map_type ARRAY, key_size 4, value_size 4, max_entries 1, the rest 0
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, BPF_MAP_CREATE, attributes, ctypes.sizeof(attributes))
    if descriptor < 0:
        return f"no BPF here ({os.strerror(ctypes.get_errno())}): needs CAP_BPF, run as root"
    os.close(descriptor)
    return None


@cache
def namespaces_refused() -> str | None:
    """Why this process may not make network namespaces, found by making one in a child."""
    child = os.fork()
    if child == 0:
        refused = ctypes.CDLL(None).unshare(CLONE_NEWNET) or not os.access("/run", os.W_OK)
        os._exit(1 if refused else 0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        return "no network namespaces here: needs CAP_SYS_ADMIN and a writable /run, run as root"
    return bpf_refused()


@cache
def spin_refused() -> str | None:
    """Why no model can be searched here; None when one can."""
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    return f"no {' and no '.join(missing)} here: run make setup as root" if missing else None


NEEDS = {
    "model": spin_refused,
    "packet": bpf_refused,
    "netns": namespaces_refused,
    "vm": lambda: None,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their folder; the check of the host runs last."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in NEEDS:
            item.add_marker(folder)
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("ONEVIP_REQUIRE", "").replace(",", " ").split()
    for name, refused in NEEDS.items():
        if item.get_closest_marker(name) is None or (reason := refused()) is None:
            continue
        if name in required:
            pytest.fail(f"ONEVIP_REQUIRE={name}, but {reason}", pytrace=False)
        pytest.skip(reason)


def listening_ports() -> set[str]:
    """TCP and UDP sockets of this network namespace that wait for others: `tcp 0100007F:0050`."""
    states = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
    found = set()
    for name, waiting in states.items():
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if state == waiting and remote.endswith(":0000"):
                found.add(f"{name} {local}")
    return found


def network_namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def host_state() -> dict[str, set[str]]:
    """What a run of the tests must leave as it was."""
    return {
        "listening ports": listening_ports(),
        "network namespaces": network_namespaces(),
        "interfaces": interfaces(),
    }


HOST_BEFORE = pytest.StashKey[dict[str, set[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: runs after every other test")
    config.stash[HOST_BEFORE] = host_before()


def host_before() -> dict[str, set[str]]:
    """The state of now; or that of the first of several runs, in ONEVIP_HOST_BEFORE's file."""
    if not (kept := os.environ.get("ONEVIP_HOST_BEFORE")):
        return host_state()
    file = Path(kept)
    if not file.exists():
        file.write_text(json.dumps({name: sorted(found) for name, found in host_state().items()}))
    return {name: set(found) for name, found in json.loads(file.read_text()).items()}


@pytest.fixture
def host_before_and_now(
    request: pytest.FixtureRequest,
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The host's ports, namespaces and interfaces before the first test, and now."""
    return request.config.stash[HOST_BEFORE], host_state()
