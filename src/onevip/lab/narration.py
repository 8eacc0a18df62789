"""Tells a person what happens, step by step: coloured on a terminal, plain elsewhere."""

from __future__ import annotations

import os
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 92
INDENT = 6
STYLES = {"bold": "1", "dim": "2", "good": "1;32", "bad": "1;31", "title": "1;36"}


class Narrator:
    """Numbers the steps, and writes `ok` or the opposite behind each."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._coloured = output.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def title(self, text: str) -> None:
        """A heading; the steps below it count from 1."""
        self._step = 0
        self._write(f"\n{self._styled('title', f'── {text} ' + '─' * (WIDTH - len(text) - 4))}\n\n")

    def say(self, text: str = "") -> None:
        self._write(f"{text}\n")

    @contextmanager
    def step(self, sentence: str) -> Iterator[list[str]]:
        """One step. What the block appends to the list is shown below its verdict."""
        self._step += 1
        shown: list[str] = []
        number = f"{self._step:>3}. "
        *lines, last = textwrap.wrap(sentence, WIDTH - INDENT - 14, subsequent_indent=" " * 5)
        head = "\n".join(
            [number + line if not i else line for i, line in enumerate([*lines, last])]
        )
        dots = self._styled("dim", "·" * (WIDTH - INDENT - 8 - len(head.rpartition("\n")[2])))
        self._write(f"{self._styled('bold', head)} {dots} ")
        begin = time.monotonic()
        try:
            yield shown
        except BaseException as ended:
            words = "interrupted" if isinstance(ended, KeyboardInterrupt) else "not observed"
            self._write(self._styled("bad", f"{words}\n"))
            self._show(shown)
            raise
        took = f"{time.monotonic() - begin:4.1f} s"
        self._write(f"{self._styled('good', 'ok')} {self._styled('dim', took)}\n")
        self._show(shown)

    def _show(self, shown: list[str]) -> None:
        for text in shown:
            self._write(textwrap.indent(self._styled_lines(text.rstrip()), " " * INDENT) + "\n")

    def _styled_lines(self, text: str) -> str:
        return "\n".join(self._styled("dim", line) for line in text.splitlines())

    def _styled(self, style: str, text: str) -> str:
        return f"\033[{STYLES[style]}m{text}\033[0m" if self._coloured else text

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()
