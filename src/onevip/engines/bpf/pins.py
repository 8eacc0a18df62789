"""Where the data plane lives between processes: our bpffs, one directory a network namespace.

/run/onevip/bpf is a bpffs of our own: it stays visible under `ip netns exec`, which hides
/sys/fs/bpf. Below it `<inode>-<cookie>/` of each namespace holds every map, program and link.
Regular files cannot live there, so the writers' lock is on its root directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from onevip import namespace
from onevip.engines.bpf import libbpf
from onevip.model import DataplaneError

BPFFS = namespace.RUN / "bpf"
_OURS = re.compile(r"\d+-\d+(-new)?")  # namespace.identity()


def _is_mounted(mountinfo: Path) -> bool:
    """Whether a process sees a bpffs at BPFFS (proc(5): the fifth field is the mount point)."""
    try:
        lines = mountinfo.read_text().splitlines()
    except OSError:
        return False
    return any(
        line.split()[4] == str(BPFFS) and line.split(" - ")[1].startswith("bpf ") for line in lines
    )


def _outermost_process() -> Path:
    """/proc of the outermost ancestor that we may look into: the machine's mount namespace.

    That is process 1, unless it holds a capability that we lack (ptrace(2)'s rule).
    """
    ancestors, pid = [1], os.getpid()
    while pid > 1:
        ancestors.insert(1, pid)
        status = Path(f"/proc/{pid}/stat").read_text()
        pid = int(status.rpartition(")")[2].split()[1])
    for ancestor in ancestors:
        process = Path(f"/proc/{ancestor}")
        if os.access(process / "root/.", os.X_OK) and os.access(process / "ns/mnt", os.R_OK):
            return process
    return Path("/proc/self")


def root() -> Path | None:
    """Our bpffs, if it is mounted: here, or where the outermost process sees it.

    `ip netns exec` gives its command a mount namespace of its own, which may have been made
    before we mounted.
    """
    if _is_mounted(Path("/proc/self/mountinfo")):
        return BPFFS
    process = _outermost_process()
    if _is_mounted(process / "mountinfo"):
        return process / "root" / BPFFS.relative_to("/")
    return None


def mounted_root() -> Path:
    """Our bpffs, mounted now if need be, where it outlives this process."""
    found = root()
    if found is not None:
        return found
    process = _outermost_process()
    pid = os.fork()  # a child: changing the mount namespace is for ever
    if pid == 0:
        os._exit(_mount_seen_by(process))
    error = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = root()
    if found is None:
        raise DataplaneError(
            f"mounting a bpffs at {BPFFS}",
            f"{os.strerror(abs(error) or errno.EIO)}: this needs CAP_SYS_ADMIN and a kernel with"
            f" CONFIG_BPF_SYSCALL; or mount it by hand: mount -t bpf bpf {BPFFS}",
            abs(error),
        )
    return found


def _mount_seen_by(process: Path) -> int:
    """In the child: an exit status that is 0 or an errno."""
    try:
        there = os.open(process / "ns/mnt", os.O_RDONLY)
        if Path("/proc/self/ns/mnt").stat().st_ino != os.fstat(there).st_ino:
            libbpf.enter_mount_namespace(there)
        namespace.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        BPFFS.mkdir(mode=0o700, exist_ok=True)
        if not _is_mounted(Path("/proc/self/mountinfo")):
            libbpf.mount_bpffs(BPFFS)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


@contextmanager
def writer_lock() -> Iterator[Path]:
    """One writer at a time on this machine; a killed one's lock is released by the kernel."""
    path = mounted_root()
    with _locked(path, fcntl.LOCK_EX):
        yield path


@contextmanager
def reader_lock() -> Iterator[None]:
    """No writer meanwhile: a list is read as it was at one moment. Mounts nothing."""
    path = root()
    with _locked(path, fcntl.LOCK_SH) if path else nullcontext():
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    try:
        mount_point = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # 0700: nobody else can hold it
    except PermissionError:
        raise _permission_denied(path) from None
    try:
        fcntl.flock(mount_point, how)
        yield
    finally:
        os.close(mount_point)


def directory() -> Path | None:
    """This namespace's pins, or None when nothing is loaded."""
    base = root()
    if base is None:
        return None
    path = base / namespace.identity()
    try:
        return path if path.is_dir() else None
    except PermissionError:
        raise _permission_denied(path) from None


def _permission_denied(path: Path) -> DataplaneError:
    return DataplaneError(f"opening {path}", "permission denied: run as root", errno.EACCES)


def remove_tree(path: Path) -> None:
    """Unpin everything below a directory, and it."""
    for child in path.iterdir():
        if child.is_dir():
            remove_tree(child)
        else:
            child.unlink()
    path.rmdir()


def retire(path: Path) -> None:
    """Remove a namespace's pins: all at once for whoever looks, whenever we are killed."""
    unfinished = path.with_name(f"{path.name}-new")
    if unfinished.exists():
        remove_tree(unfinished)
    path.rename(unfinished)
    remove_tree(unfinished)


def sweep_dead(base: Path) -> None:
    """Remove what is left of namespaces that have gone, and of a killed load."""
    alive = _live_inodes()
    mine = namespace.identity()
    for path in base.iterdir():
        # iproute2 makes `tc`, `xdp` and `ip` of its own in the first bpffs that it finds
        if path.is_symlink() or not _OURS.fullmatch(path.name) or not path.is_dir():
            continue
        inode = path.name.partition("-")[0]
        if path.name.endswith("-new"):
            remove_tree(path)  # nobody else loads: we hold the lock
        elif path.name != mine and not path.name.startswith(f"{mine}-"):
            reused = inode == str(namespace.inode())
            if reused or (inode not in alive and not _has_living_link(path / "links")):
                remove_tree(path)
    for path in namespace.RUN.iterdir():  # regular files about them: what `real` found, say
        inode, _, cookie = path.name.partition("-")
        is_one = inode.isdigit() and cookie.isdigit() and path.name != mine
        if is_one and inode not in alive and not list(base.glob(f"{path.name}*")):
            shutil.rmtree(path, ignore_errors=True)


def _has_living_link(links: Path) -> bool:
    """A namespace without processes or names may still be held open: its interfaces tell."""
    return links.is_dir() and any(libbpf.link_lives(link) for link in links.iterdir())


def _live_inodes() -> set[str]:
    found: set[str] = set()
    named = Path("/run/netns")
    candidates = [
        *Path("/proc").glob("[0-9]*/ns/net"),
        *(named.iterdir() if named.exists() else ()),
    ]
    for path in candidates:
        try:
            found.add(str(path.stat().st_ino))
        except OSError:
            continue  # ended while we looked
    return found
