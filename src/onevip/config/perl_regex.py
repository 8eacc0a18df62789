"""Perl's regular expressions as Python's. `receive` is written in Perl's (spec ldirectord §4.1).

Most are the same text. What Perl writes otherwise is rewritten; what Python cannot do (recursion,
code, Unicode properties) is refused. A pattern comes from a file, so nothing is interpolated: to
Perl, too, a `\\Q` in it is the letter Q.
"""

from __future__ import annotations

import re
import warnings

from onevip.model import OnevipError

_POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "graph": "!-~",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
    "ascii": r"\x00-\x7f",
    "^digit": r"\D",
    "^space": r"\S",
    "^word": r"\W",
}
_ESCAPES = {
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "h": r"[ \t]",
    "H": r"[^ \t]",
    "v": r"[\n\x0b\f\r]",
    "V": r"[^\n\x0b\f\r]",
    "R": r"(?:\r\n|[\n\x0b\f\r])",
    "N": r"[^\n]",
    "e": r"\x1b",
}
_ESCAPES_IN_SET = {"h": r" \t", "v": r"\n\x0b\f\r", "e": r"\x1b", "b": r"\x08"}
_SAME = frozenset("AbBdDsSwWtnrfax0123456789")
_REFUSED = {"p": "Unicode properties", "P": "Unicode properties", "X": r"\X", "K": r"\K",
            "G": r"\G", "C": r"\C"}  # fmt: skip
_REFUSED_IN_SET = {**_REFUSED, **{letter: f"\\{letter} in a set" for letter in "HVRN"}}
_BRACED_NUMBER = re.compile(r"x\{\s*([0-9A-Fa-f]{1,2})\s*\}")
_REFERENCE = re.compile(r"g(?:\{([0-9]+)\}|([0-9]+))")
_NAMED_REFERENCE = re.compile(r"[kg](?:\{(\w+)\}|<(\w+)>|'(\w+)')", re.ASCII)
_NAMED_GROUP = re.compile(r"\(\?(?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')", re.ASCII)
_FLAGS = re.compile(r"\(\?([imsx]+)\)")
_POSIX_CLASS = re.compile(r"\[:(\^?[a-z]+):\]")
_LITERAL_BRACE = re.compile(r"\{(?!(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)\})")


class NoRegex(OnevipError):
    """The pattern is none, or none that can be run here."""


def translated(pattern: str) -> str:
    """The pattern in Python's syntax, for bytes. Raises NoRegex."""
    python = _Translation(pattern).run()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set" is fine in a Perl pattern
            re.compile(python.encode("utf-8", "surrogateescape"))
    except (re.error, OverflowError, RecursionError, UnicodeError) as error:
        raise NoRegex(str(error)) from error
    return python


class _Translation:
    """One walk over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._out: list[str] = []
        #: For each open group, the `(?i:` that end with it.
        self._opened: list[list[str]] = [[]]

    def run(self) -> str:
        while self._at < len(self._pattern):
            self._step(self._pattern[self._at])
        return "".join(self._out) + ")" * len(self._opened[0])

    def _put(self, text: str, length: int) -> None:
        self._out.append(text)
        self._at += length

    def _step(self, char: str) -> None:
        if char == "\\":
            self._escape()
        elif char == "[":
            self._set()
        elif char == "(":
            self._open()
        elif char == ")":
            closing = self._opened.pop() if len(self._opened) > 1 else []
            self._put(")" * len(closing) + ")", 1)
        elif char == "|":
            flags = self._opened[-1]  # they go on in the next alternative
            self._put(")" * len(flags) + "|" + "".join(flags), 1)
        elif char == "{" and _LITERAL_BRACE.match(self._pattern, self._at):
            self._put(r"\{", 1)
        else:
            self._put(char, 1)

    def _open(self) -> None:
        named = _NAMED_GROUP.match(self._pattern, self._at)
        flags = _FLAGS.match(self._pattern, self._at)
        if flags:  # to the end of the group in which they stand
            self._opened[-1].append(f"(?{flags[1]}:")
            self._put(self._opened[-1][-1], len(flags[0]))
            return
        if self._pattern.startswith("(?#", self._at):
            end = self._pattern.find(")", self._at)
            if end < 0:
                raise NoRegex("missing ), unterminated comment")
            self._at = end + 1
            return
        self._opened.append([])
        if named:
            self._put(f"(?P<{named[1] or named[2]}>", len(named[0]))
        else:
            self._put("(", 1)

    def _escape(self) -> None:
        char = self._pattern[self._at + 1 : self._at + 2]
        rest = self._at + 1
        if char in _REFUSED:
            raise NoRegex(f"{_REFUSED[char]} cannot be matched here")
        if number := _BRACED_NUMBER.match(self._pattern, rest):
            self._put(f"\\x{int(number[1], 16):02x}", 1 + len(number[0]))
        elif reference := _REFERENCE.match(self._pattern, rest):
            self._put(f"(?:\\{reference[1] or reference[2]})", 1 + len(reference[0]))
        elif name := _NAMED_REFERENCE.match(self._pattern, rest):
            self._put(f"(?P={name[1] or name[2] or name[3]})", 1 + len(name[0]))
        elif char in _ESCAPES:
            self._put(_ESCAPES[char], 2)
        else:
            self._put(self._plain(char), 2)

    def _plain(self, char: str) -> str:
        """An escape that both know, or a letter that Perl takes as itself."""
        is_letter = char.isascii() and char.isalpha()
        return char if is_letter and char not in _SAME else "\\" + char

    def _set(self) -> None:
        """`[…]`, to the bracket that closes it."""
        start = re.compile(r"\[\^?\]?").match(self._pattern, self._at)
        assert start is not None
        self._put(start[0], len(start[0]))
        while self._at < len(self._pattern):
            char = self._pattern[self._at]
            posix = _POSIX_CLASS.match(self._pattern, self._at)
            if posix:
                if posix[1] not in _POSIX:
                    raise NoRegex(f"{posix[0]} cannot be matched here")
                self._put(_POSIX[posix[1]], len(posix[0]))
            elif char == "\\":
                self._escape_in_set()
            elif char == "]":
                self._put("]", 1)
                return
            else:
                self._put("\\[" if char == "[" else char, 1)

    def _escape_in_set(self) -> None:
        char = self._pattern[self._at + 1 : self._at + 2]
        if char in _REFUSED_IN_SET:
            raise NoRegex(f"{_REFUSED_IN_SET[char]} cannot be matched here")
        if number := _BRACED_NUMBER.match(self._pattern, self._at + 1):
            self._put(f"\\x{int(number[1], 16):02x}", 1 + len(number[0]))
        else:
            self._put(_ESCAPES_IN_SET.get(char) or self._plain(char), 2)
