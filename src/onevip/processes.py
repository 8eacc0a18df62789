"""Runs a program for a limited time: a process group of its own, bounded output. No room.

Knows nothing of why: who calls it decides what an end means.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

#: What a program of the operator's gets of our environment: where programs are, how words look.
_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "LANG", "LANGUAGE", "TZ")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

OUTPUT_LIMIT = 16_384
#: Between TERM and KILL: time to clean up.
GRACE_S = 2.0
#: After its end a program's children may hold its output open: so long that is read on.
LAST_WORDS_S = 0.2
_READ_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: `status` is its exit status, or None when `signal` ended it.

    `output`: what it wrote to stdout and stderr, the first `output_limit` bytes of it.
    """

    status: int | None
    signal: int | None
    output: bytes
    timed_out: bool

    @property
    def succeeded(self) -> bool:
        return self.status == 0 and not self.timed_out

    def __str__(self) -> str:
        """`exited with status 3`, `was ended by SIGKILL`, `took too long and was ended`."""
        if self.timed_out:
            return "took too long and was ended"
        if self.signal is None:
            return f"exited with status {self.status}"
        try:
            return f"was ended by {signal.Signals(self.signal).name}"
        except ValueError:  # a real-time signal
            return f"was ended by signal {self.signal}"


def environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of our environment that any program may know: nothing that could be a secret."""
    source = os.environ if source is None else source
    kept = {name: source[name] for name in _ENVIRONMENT if name in source}
    kept |= {name: value for name, value in source.items() if name.startswith("LC_")}
    return {"PATH": _PATH, **kept}


async def run(
    argv: Sequence[str],
    *,
    limit_s: float,
    stdin: bytes = b"",
    output_limit: int = OUTPUT_LIMIT,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run it to its end, without a shell, for at most `limit_s`; then TERM and KILL to its group.

    It reads `stdin`; `env` is its whole environment, None: `environment()`. Children that it
    leaves behind when it ends by itself live on. Whoever cancels this has the group killed.
    Raises OSError when the program cannot be started.
    """
    with contextlib.ExitStack() as closing:
        output = _Output(output_limit)
        closing.callback(output.close)
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=closing.enter_context(_given(stdin)),
            stdout=output.inlet,
            stderr=output.inlet,
            env=dict(environment() if env is None else env),
            start_new_session=True,
        )
        output.begin()
        try:
            timed_out = not await _ends_within(process, limit_s)
            if timed_out:
                await _end(process)
            await output.last_words()
        finally:
            if process.returncode is None:
                _signal_group(process.pid, signal.SIGKILL)
                await _ends_within(process, GRACE_S)
        code = process.returncode or 0
        return Ended(
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            output=bytes(output.text),
            timed_out=timed_out,
        )


class _Output:
    """What a program writes: the first bytes are kept, all are read, so that it never waits.

    A pipe of our own: asyncio's would be waited for until the last child has closed it.
    """

    def __init__(self, limit: int) -> None:
        self.text = bytearray()
        self._limit = limit
        self._outlet, self.inlet = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._outlet, False)
        self._ended = asyncio.Event()

    def begin(self) -> None:
        """The program has the inlet now."""
        os.close(self.inlet)
        self.inlet = -1
        asyncio.get_running_loop().add_reader(self._outlet, self._read)

    async def last_words(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._ended.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._outlet)
        os.close(self._outlet)
        if self.inlet >= 0:
            os.close(self.inlet)

    def _read(self) -> None:
        data = os.read(self._outlet, _READ_SIZE)
        self.text += data[: self._limit - len(self.text)]
        if not data:
            asyncio.get_running_loop().remove_reader(self._outlet)
            self._ended.set()


@contextlib.contextmanager
def _given(data: bytes) -> Iterator[int]:
    """A descriptor to read this from: a file in memory, so that nobody has to write it bit by bit.

    /dev/null when there is nothing.
    """
    if data:
        descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    else:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if data:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


async def _ends_within(process: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    await _ends_within(process, GRACE_S)
    # Also when the leader has gone: others of its group may not have heard.
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
