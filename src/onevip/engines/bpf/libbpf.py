"""ctypes over libbpf.so.1: the only place that knows C. Knows nothing of services.

Every function raises DataplaneError with the step, the kernel's reason and what to do about it.
"""

from __future__ import annotations

import ctypes as C  # noqa: N812 - a name for every line of this file
import errno as errnos
import os
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from onevip.model import DataplaneError

BPF_ANY: Final = 0
MAP_TYPE_ARRAY: Final = 2
MMAPABLE: Final = 1 << 10
INNER_MAP: Final = 1 << 12
ATTACH_XDP: Final = 37
ATTACH_TCX_INGRESS: Final = 46
ATTACH_TCX_EGRESS: Final = 47
XDP_FLAGS_DRV_MODE: Final = 4
TC_INGRESS: Final = 1
TC_EGRESS: Final = 2
TC_REPLACE: Final = 1
MINIMUM_VERSION: Final = (1, 1)

_VERIFIER: Final = "BEGIN PROG LOAD LOG"
_REMEDIES: Final = {
    errnos.EPERM: "this needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW: run as root",
    errnos.EACCES: "this needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW: run as root",
}


class _TestRun(C.Structure):
    _fields_ = (
        ("sz", C.c_size_t), ("data_in", C.c_void_p), ("data_out", C.c_void_p),
        ("data_size_in", C.c_uint32), ("data_size_out", C.c_uint32), ("ctx_in", C.c_void_p),
        ("ctx_out", C.c_void_p), ("ctx_size_in", C.c_uint32), ("ctx_size_out", C.c_uint32),
        ("retval", C.c_uint32), ("repeat", C.c_int), ("duration", C.c_uint32),
        ("flags", C.c_uint32), ("cpu", C.c_uint32), ("batch_size", C.c_uint32),
    )  # fmt: skip


class _LinkOptions(C.Structure):
    _fields_ = (("sz", C.c_size_t), ("flags", C.c_uint32), ("reserved", C.c_uint32))


class _TcHook(C.Structure):
    _fields_ = (
        ("sz", C.c_size_t), ("ifindex", C.c_int), ("point", C.c_uint), ("parent", C.c_uint),
        ("pad", C.c_uint),
    )  # fmt: skip


class _TcOptions(C.Structure):
    _fields_ = (
        ("sz", C.c_size_t), ("prog_fd", C.c_int), ("flags", C.c_uint), ("prog_id", C.c_uint),
        ("handle", C.c_uint), ("priority", C.c_uint), ("pad", C.c_uint),
    )  # fmt: skip


class _MapOptions(C.Structure):
    _fields_ = (
        ("sz", C.c_size_t), ("btf_fd", C.c_uint32), ("btf_key_type_id", C.c_uint32),
        ("btf_value_type_id", C.c_uint32), ("btf_vmlinux_value_type_id", C.c_uint32),
        ("inner_map_fd", C.c_uint32), ("map_flags", C.c_uint32), ("map_extra", C.c_uint64),
        ("numa_node", C.c_uint32), ("map_ifindex", C.c_uint32),
    )  # fmt: skip


_LOG = C.CFUNCTYPE(C.c_int, C.c_int, C.c_char_p, C.c_void_p)


class Library:
    """libbpf, loaded at first use. `log` holds its words about the latest call."""

    def __init__(self) -> None:
        try:
            self._lib = C.CDLL("libbpf.so.1", use_errno=True)
        except OSError:
            raise DataplaneError("libbpf.so.1 not found", "apt install libbpf1") from None
        self._libc = C.CDLL(None, use_errno=True)
        self.log: list[str] = []
        self._print = _LOG(self._collect)  # kept alive: libbpf keeps the pointer
        for name in ("bpf_object__open_file", "bpf_object__next_map", "bpf_object__next_program"):
            getattr(self._lib, name).restype = C.c_void_p
        for name in ("bpf_map__name", "bpf_program__name"):
            getattr(self._lib, name).restype = C.c_char_p
        self._lib.libbpf_set_print(self._print)
        version = (self._lib.libbpf_major_version(), self._lib.libbpf_minor_version())
        if version < MINIMUM_VERSION:
            raise DataplaneError(
                f"libbpf {version[0]}.{version[1]} is too old",
                "1.1 or newer is needed: apt install libbpf1 of Debian 12 or Ubuntu 24.04",
            )

    def _collect(self, level: int, template: bytes, arguments: int) -> int:
        if level < 2:  # warnings and notes, not debug
            buffer = C.create_string_buffer(1 << 20)  # a verifier's reason comes last in its log
            self._libc.vsnprintf(buffer, len(buffer), template, C.c_void_p(arguments))
            self.log.append(buffer.value.decode(errors="replace").rstrip())
        return 0

    def call(self, step: str, function: str, *arguments: Any, also_fine: Sequence[int] = ()) -> int:
        """Call an int-returning function; negative is an error unless its errno is fine."""
        self.log.clear()
        result: int = getattr(self._lib, function)(*arguments)
        if result >= 0 or -result in also_fine:
            return result
        raise self.failure(step, -result if result < -1 else C.get_errno())

    def pointer(self, step: str, function: str, *arguments: Any) -> C.c_void_p:
        """Call a pointer-returning function; NULL is an error."""
        self.log.clear()
        result = getattr(self._lib, function)(*arguments)
        if not result:
            raise self.failure(step, C.get_errno())
        return C.c_void_p(result)

    def next(
        self, function: str, obj: C.c_void_p, previous: C.c_void_p | None
    ) -> C.c_void_p | None:
        result = getattr(self._lib, function)(obj, previous)
        return C.c_void_p(result) if result else None

    def text(self, function: str, handle: C.c_void_p) -> str:
        name: bytes = getattr(self._lib, function)(handle)
        return name.decode()

    def release(self, function: str, handle: C.c_void_p) -> None:
        getattr(self._lib, function)(handle)

    def failure(self, step: str, errno: int) -> DataplaneError:
        said = [line for line in self.log if line and "BPF program load failed" not in line]
        verifier = next((line for line in said if _VERIFIER in line), None)
        if verifier is not None:
            *_, why, _, _ = ("", "", "", *verifier.splitlines())  # then "processed" and the end
            return DataplaneError(step, f"the kernel's verifier refused: {why}", errnos.EINVAL)
        reason = _REMEDIES.get(errno) or "; ".join([os.strerror(errno), *said[-3:]])
        return DataplaneError(step, reason, errno)


@cache
def library() -> Library:
    """The one Library of this process."""
    return Library()


def possible_cpus() -> int:
    """Per-CPU values come in this many copies."""
    return library().call("counting CPUs", "libbpf_num_possible_cpus")


# Objects: what clang made, on its way into the kernel.


class Object:
    """An object file loaded into the kernel: maps and programs by name, as file descriptors."""

    def __init__(self, path: Path, reuse: dict[str, int] | None = None) -> None:
        lib = library()
        opened = lib.pointer(f"opening {path.name}", "bpf_object__open_file", bytes(path), None)
        self._handle = opened
        try:
            for name, handle in self._walk("bpf_object__next_map", "bpf_map__name"):
                if reuse and name in reuse:
                    self._reuse(name, handle, reuse[name])
            lib.call(f"loading {path.name} into the kernel", "bpf_object__load", opened)
        except DataplaneError:
            self.close()
            raise
        self.maps = {
            name: lib.call(f"map {name}", "bpf_map__fd", handle)
            for name, handle in self._walk("bpf_object__next_map", "bpf_map__name")
            if "." not in name  # .rodata and its like belong to the programs
        }
        self.programs = {
            name: lib.call(f"program {name}", "bpf_program__fd", handle)
            for name, handle in self._walk("bpf_object__next_program", "bpf_program__name")
        }

    def _reuse(self, name: str, handle: C.c_void_p, fd: int) -> None:
        """libbpf takes whatever it is given; the verifier sees only what is too small."""
        lib = library()
        asked = ("type", "key_size", "value_size", "max_entries")
        mine = tuple(lib.call(f"map {name}", f"bpf_map__{what}", handle) for what in asked)
        kind, _, *sizes = struct.unpack_from("=5I", object_info(fd))
        if (kind, *sizes) != mine:
            raise DataplaneError(
                f"map {name} in the kernel has another layout",
                f"{', '.join(asked)} are {(kind, *sizes)}, not {mine}: another version of onevip"
                " loaded it; unload it with `onevip detach --unload`",
            )
        lib.call(f"re-using map {name}", "bpf_map__reuse_fd", handle, fd)

    def _walk(self, step: str, name: str) -> list[tuple[str, C.c_void_p]]:
        found: list[tuple[str, C.c_void_p]] = []
        handle = library().next(step, self._handle, None)
        while handle is not None:
            found.append((library().text(name, handle), handle))
            handle = library().next(step, self._handle, handle)
        return found

    def close(self) -> None:
        """Give up our descriptors; what is pinned or attached lives on."""
        library().release("bpf_object__close", self._handle)


# Pins.


def pin(fd: int, path: Path) -> None:
    library().call(f"pinning {path}", "bpf_obj_pin", fd, bytes(path))


def get_pinned(path: Path) -> int:
    """A new file descriptor of what is pinned there."""
    return library().call(f"opening {path}", "bpf_obj_get", bytes(path))


# Maps.


def _buffer(data: bytes) -> Any:
    return C.create_string_buffer(data, len(data))


def array_create(name: str, value_size: int, entries: int) -> int:
    """A descriptor of a new array for a map of maps, mappable, of any length."""
    options = _MapOptions(sz=C.sizeof(_MapOptions), map_flags=MMAPABLE | INNER_MAP)
    return library().call(
        f"making a map of {value_size * entries >> 20} MiB",
        "bpf_map_create",
        MAP_TYPE_ARRAY, name.encode(), 4, value_size, entries, C.byref(options),
    )  # fmt: skip


def map_entries(fd: int) -> int:
    """How many a map has room for."""
    return int.from_bytes(object_info(fd)[16:20], "little")


def map_update(fd: int, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
    library().call(
        "writing a map", "bpf_map_update_elem", fd, _buffer(key), _buffer(value), C.c_uint64(flags)
    )


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value, or None when the key is not there."""
    value = C.create_string_buffer(value_size)
    result = library().call(
        "reading a map", "bpf_map_lookup_elem", fd, _buffer(key), value, also_fine=(errnos.ENOENT,)
    )
    return value.raw if result == 0 else None


def map_delete(fd: int, key: bytes) -> None:
    """Deleting what is not there is fine."""
    library().call(
        "deleting from a map", "bpf_map_delete_elem", fd, _buffer(key), also_fine=(errnos.ENOENT,)
    )


def map_keys(fd: int, key_size: int) -> list[bytes]:
    """Every key of a hash."""
    keys: list[bytes] = []
    following = C.create_string_buffer(key_size)
    previous: Any = None
    while True:
        result = library().call(
            "walking a map",
            "bpf_map_get_next_key",
            fd,
            previous,
            following,
            also_fine=(errnos.ENOENT,),
        )
        if result < 0:
            return keys
        keys.append(following.raw)
        previous = _buffer(following.raw)


def object_info(fd: int, size: int = 256) -> bytes:
    """The kernel's bpf_map_info, bpf_prog_info or bpf_link_info of a descriptor."""
    info, length = C.create_string_buffer(size), C.c_uint32(size)
    library().call("asking about an object", "bpf_obj_get_info_by_fd", fd, info, C.byref(length))
    return info.raw


# Programs.


def run_program(
    program: int, data: bytes, *, context: bytes = b"", repeat: int = 1, room: int = 4096
) -> tuple[int, bytes, bytes]:
    """BPF_PROG_TEST_RUN: (return value, packet, context) after it ran."""
    out = C.create_string_buffer(len(data) + room)
    context_out = C.create_string_buffer(max(len(context), 1))
    options = _TestRun(
        sz=C.sizeof(_TestRun),
        data_in=C.cast(_buffer(data), C.c_void_p),
        data_out=C.cast(out, C.c_void_p),
        data_size_in=len(data),
        data_size_out=len(out),
        ctx_in=C.cast(_buffer(context), C.c_void_p) if context else None,
        ctx_out=C.cast(context_out, C.c_void_p) if context else None,
        ctx_size_in=len(context),
        ctx_size_out=len(context),
        repeat=repeat,
    )
    library().call("running a program", "bpf_prog_test_run_opts", program, C.byref(options))
    verdict = C.c_int32(options.retval).value
    return verdict, out.raw[: options.data_size_out], context_out.raw[: len(context)]


# Attaching.


def link_create(program: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """A bpf_link, as a descriptor: pin it, or it ends with this process."""
    options = _LinkOptions(sz=C.sizeof(_LinkOptions), flags=flags)
    return library().call(
        "attaching to an interface",
        "bpf_link_create",
        program,
        ifindex,
        attach_type,
        C.byref(options),
    )


def link_update(link: int, program: int) -> None:
    """Swap the program of a link without losing a packet."""
    library().call("swapping a program", "bpf_link_update", link, program, None)


def link_ifindex(link: int) -> int:
    """The interface of a tcx or xdp link; 0 when it has gone."""
    return int.from_bytes(object_info(link)[16:20], "little")


def link_lives(pinned: Path) -> bool:
    """Whether a pinned link still has its interface."""
    if not pinned.exists():
        return False
    link = get_pinned(pinned)
    try:
        return link_ifindex(link) != 0
    finally:
        os.close(link)


def _hook(ifindex: int, point: int) -> Any:
    return C.byref(_TcHook(sz=C.sizeof(_TcHook), ifindex=ifindex, point=point))


def clsact_create(ifindex: int) -> bool:
    """Make sure that the interface has a clsact qdisc. True: it was made here."""
    result = library().call(
        "adding a clsact qdisc",
        "bpf_tc_hook_create",
        _hook(ifindex, TC_INGRESS),
        also_fine=(errnos.EEXIST,),
    )
    return result == 0


def clsact_attach(program: int, ifindex: int, point: int, handle: int, priority: int) -> None:
    """Attach, or replace what is there under this handle."""
    options = _TcOptions(
        sz=C.sizeof(_TcOptions),
        prog_fd=program,
        flags=TC_REPLACE,
        handle=handle,
        priority=priority,
    )
    library().call(
        "attaching a tc filter", "bpf_tc_attach", _hook(ifindex, point), C.byref(options)
    )


def clsact_program(ifindex: int, point: int, handle: int, priority: int) -> int | None:
    """The id of the program that is attached under this handle, or None."""
    options = _TcOptions(sz=C.sizeof(_TcOptions), handle=handle, priority=priority)
    result = library().call(
        "asking for a tc filter",
        "bpf_tc_query",
        _hook(ifindex, point),
        C.byref(options),
        also_fine=(errnos.ENOENT, errnos.EINVAL, errnos.ENODEV),
    )
    return int(options.prog_id) if result == 0 else None


def clsact_detach(ifindex: int, point: int, handle: int, priority: int) -> None:
    options = _TcOptions(sz=C.sizeof(_TcOptions), handle=handle, priority=priority)
    library().call(
        "detaching a tc filter",
        "bpf_tc_detach",
        _hook(ifindex, point),
        C.byref(options),
        also_fine=(errnos.ENOENT, errnos.EINVAL, errnos.ENODEV),
    )


def clsact_destroy(ifindex: int) -> None:
    """Remove the qdisc with everything on it: only for one that was made here and is empty."""
    library().call(
        "removing a clsact qdisc",
        "bpf_tc_hook_destroy",
        _hook(ifindex, TC_INGRESS | TC_EGRESS),
        also_fine=(errnos.ENOENT, errnos.EINVAL, errnos.ENODEV),
    )


# Two system calls that Python 3.11 does not have.


def enter_mount_namespace(fd: int) -> None:
    """setns(2), for a process that is about to end. Raises OSError."""
    _system_call("setns", fd, 0x00020000)  # CLONE_NEWNS


def mount_bpffs(path: Path) -> None:
    """mount(2) of a bpffs that only root may enter. Raises OSError."""
    _system_call("mount", b"bpf", bytes(path), b"bpf", 0, b"mode=0700")


def _system_call(name: str, *arguments: Any) -> None:
    libc = C.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        errno = C.get_errno()
        raise OSError(errno, os.strerror(errno))
