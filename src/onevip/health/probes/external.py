"""`checktype=external`: a program is run with the addresses as arguments; exit status 0 is healthy.

No shell: `check.command` is the program's whole name, blanks and all. What it prints first is the
reason. Over its time it gets TERM, then KILL, with all that it started.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

from onevip.health.programs import Ended, NotExecutable
from onevip.health.tools import Tools
from onevip.model import Check, Outcome

_WORDS = {
    errno.ENOENT: "no such program",
    errno.EACCES: "not executable: chmod +x it, if it is the right one",
    errno.ENOEXEC: "neither a program nor a script that begins with #!",
}


async def probe(check: Check, tools: Tools) -> Outcome:
    try:
        return await run([check.command, *check.arguments], tools)
    except NotExecutable as error:
        return Outcome(False, f"{check.command}: {_why_not(error, check.command)}")


async def run(arguments: Sequence[str], tools: Tools) -> Outcome:
    """What the program says of the server. Raises NotExecutable, CouldNotTry."""
    # Waiting for a place to run in is not the real server's time.
    program = await tools.untimed(tools.programs.start(arguments))
    try:
        return _outcome(await program.ended)
    finally:
        program.stop()


def _outcome(ended: Ended) -> Outcome:
    how = f"exit status {ended.status}" if ended.status >= 0 else _killed(-ended.status)
    said = " / ".join(line.strip() for line in ended.text.splitlines() if line.strip())
    return Outcome(ended.status == 0, f"{how}: {said}" if said else how)


def _killed(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {number}"


def _why_not(error: NotExecutable, command: str) -> str:
    if error.errno == errno.ENOENT and error.exists:
        return "its first line (#!) names an interpreter that is not here"
    if error.errno == errno.ENOENT and " " in command:
        return "no such program: its name is all that checkcommand takes, no arguments"
    number = error.errno or 0
    return _WORDS.get(number) or os.strerror(number).lower()
