"""Installs what onevip needs to be built and tried: apt packages that are missing, programs that
only tests talk to (.parts) and .venv.

Says what and how much before it installs. Runs on a bare Python 3, changes nothing when nothing is
missing, and never starts, restarts or enables a service of the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# written by onevip's make setup while it installs\nexit 101\n"

#: What proves that a package is there (a program, or a path with *) and the packages that bring it,
#: first choice first. Debian has bpftool, Ubuntu keeps it in linux-tools-common.
NEEDED = (
    ("clang", ("clang",)),
    ("llvm-strip", ("llvm",)),
    ("/usr/include/bpf/bpf_helpers.h", ("libbpf-dev",)),
    ("/usr/include/linux/bpf.h", ("linux-libc-dev",)),
    ("/usr/lib*/*/libbpf.so.1", ("libbpf1",)),
    ("bpftool", ("bpftool", "linux-tools-common")),
    ("ip", ("iproute2",)),
    ("apache2", ("apache2-bin",)),
    ("wrk", ("wrk",)),
    ("ethtool", ("ethtool",)),
    ("tcpdump", ("tcpdump",)),
    ("curl", ("curl",)),
    ("openssl", ("openssl",)),
    ("spin", ("spin",)),
    ("gcc", ("gcc",)),
    ("/usr/include/stdlib.h", ("libc6-dev",)),
)

#: Packages of programs that only tests talk to. They are unpacked, not installed: no service of the
#: host begins, now or at its next start, and none of them is replaced.
PARTS = ("ldirectord", "nsd", "exim4-daemon-light", "nginx-light")
PARTS_ROOT = ROOT / ".parts"

ENVIRONMENT = {
    **os.environ,
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    # Ubuntu's needrestart would restart the host's services after an installation.
    "NEEDRESTART_SUSPEND": "1",
    "NEEDRESTART_MODE": "l",
}
APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=120")
INSTALL = (*APT, "install", "--no-install-recommends", "--no-remove")


class SetupError(Exception):
    """Setup cannot go on; the sentence says why and what to do."""


def main() -> int:
    """Set up the machine; exit status 1 with a sentence when that cannot be done."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that clean-up runs
    try:
        install_packages(missing_packages())
        unpack_parts()
        make_venv()
    except SetupError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# apt


def is_there(proof: str) -> bool:
    if proof.startswith("/"):
        return any(Path("/").glob(proof[1:]))
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return shutil.which(proof, path=path) is not None


def missing_packages() -> list[tuple[str, ...]]:
    return [choices for proof, choices in NEEDED if not is_there(proof)]


def is_known(package: str) -> bool:
    """True when apt has a version of this package to install."""
    policy = subprocess.run(
        ["apt-cache", "policy", package],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return "Candidate:" in policy and "Candidate: (none)" not in policy


def install_packages(missing: list[tuple[str, ...]]) -> None:
    if not missing:
        return
    first_choices = " ".join(choices[0] for choices in missing)
    if shutil.which("apt-get") is None:
        raise SetupError(f"no apt-get here; install by your own means: {first_choices}")
    if os.geteuid() != 0:
        raise SetupError(f"missing packages, and only root installs: apt install {first_choices}")
    if not all(any(is_known(package) for package in choices) for choices in missing):
        print("apt: fetching the package lists", flush=True)
        update = subprocess.run([*APT, "update"], env=ENVIRONMENT, capture_output=True, check=False)
        if update.returncode:
            last = update.stderr.decode().strip().splitlines() or ["no reason given"]
            raise SetupError(f"apt-get update failed: {last[-1]}")
    packages = [chosen(choices) for choices in missing]
    print(f"apt: installing {' '.join(packages)}")
    print(f"     {size_of(packages)}", flush=True)
    with no_service_starts():
        done = subprocess.run(
            [*INSTALL, "-y", "-o", "Dpkg::Use-Pty=0", *packages],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise SetupError(f"apt could not install {' '.join(packages)}; its reason stands above")


def chosen(choices: tuple[str, ...]) -> str:
    for package in choices:
        if is_known(package):
            return package
    raise SetupError(
        f"apt knows no package {' or '.join(choices)}: enable the distribution's main repository "
        "(Ubuntu: also universe), or install it by other means"
    )


def size_of(packages: list[str]) -> str:
    """apt's own two sentences on how much is fetched and how much the disk will hold."""
    answer = subprocess.run(
        [*INSTALL, "--assume-no", *packages],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    found = re.findall(r"(?m)^(Need to get .*|After this operation.*|\d+ upgraded.*)$", answer)
    return "\n     ".join(found) or "size unknown"


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Packages start no service while they are unpacked. A policy that is there stays in force."""
    if POLICY.exists() and POLICY.read_text() != POLICY_TEXT:
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


# .parts


def unpack_parts() -> None:
    """Unpack PARTS, and of what they depend on that which is not installed, below PARTS_ROOT."""
    stamp = PARTS_ROOT / "onevip-setup.json"
    wanted = json.dumps(PARTS)
    with suppress(FileNotFoundError):
        if stamp.read_text() == wanted:
            return
    if shutil.which("apt-get") is None:
        print(f"no apt-get here: tests with {', '.join(PARTS)} will be skipped", flush=True)
        return
    packages = sorted({*PARTS, *not_installed(PARTS)})
    shutil.rmtree(PARTS_ROOT, ignore_errors=True)
    PARTS_ROOT.mkdir()
    with tempfile.TemporaryDirectory() as directory:
        fetched = subprocess.run(
            [*APT, "-o", "APT::Sandbox::User=root", "download", *packages],
            env=ENVIRONMENT, cwd=directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if fetched.returncode:
            last = fetched.stderr.strip().splitlines() or ["no reason given"]
            raise SetupError(f"apt could not fetch {' '.join(packages)}: {last[-1]}")
        archives = sorted(Path(directory).glob("*.deb"))
        size = sum(archive.stat().st_size for archive in archives)
        print(f"parts: {len(archives)} packages, {size / 1e6:.1f} MB, unpacked into .parts")
        for archive in archives:
            subprocess.run(["dpkg", "-x", str(archive), str(PARTS_ROOT)], check=True)
    stamp.write_text(wanted)


def not_installed(packages: tuple[str, ...]) -> list[str]:
    """What apt would install for these, without their recommendations."""
    plan = subprocess.run(
        [*APT, "install", "--no-install-recommends", "-s", *packages],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if plan.returncode:
        last = plan.stderr.strip().splitlines() or ["no reason given"]
        raise SetupError(f"apt cannot tell what {' '.join(packages)} need: {last[-1]}")
    return re.findall(r"(?m)^Inst (\S+)", plan.stdout)


# .venv


def make_venv() -> None:
    stamp = VENV / "onevip-setup.json"
    wanted = requirements_digest()
    with suppress(FileNotFoundError):
        if stamp.read_text() == wanted:
            return
    python = find_python()
    print(f"pip: onevip and its tools into {VENV.name} with {python}", flush=True)
    create = subprocess.run(
        [python, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if create.returncode:
        raise SetupError("python3 -m venv failed: apt install python3-venv")
    pip = str(VENV / "bin" / "pip")
    quietly = ["--quiet", "--disable-pip-version-check"]
    if subprocess.run(
        [pip, "install", *quietly, "-e", f"{ROOT}[dev]"], cwd=ROOT, check=False
    ).returncode:
        raise SetupError("pip could not install the Python packages; its reason stands above")
    stamp.write_text(wanted)
    print(f"     {installed_summary(pip)}", flush=True)


def find_python() -> str:
    """This Python when it is new enough, else a newer one on PATH."""
    if tuple(sys.version_info) >= (3, 11):
        return sys.executable
    for minor in range(20, 10, -1):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise SetupError("Python 3.11 or newer is needed: apt install python3 python3-venv")


def requirements_digest() -> str:
    """Changes when pyproject.toml asks for something else or the tree has moved."""
    text = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff]")[0]
    return hashlib.sha256(f"{ROOT}\n{text}".encode()).hexdigest()


def installed_summary(pip: str) -> str:
    listing = subprocess.run(
        [pip, "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    packages = [f"{package['name']} {package['version']}" for package in json.loads(listing)]
    total = sum(file.lstat().st_size for file in VENV.rglob("*") if not file.is_dir())
    return f"{len(packages)} packages, {total / 1e6:.0f} MB: {', '.join(packages)}"


if __name__ == "__main__":
    sys.exit(main())
