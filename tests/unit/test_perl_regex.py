"""Patterns in Perl's syntax find in Python what they find in Perl."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

import parts
from onevip.config import perl_regex

PATTERNS = [
    "Test Page", "^ok$", r"\Aok\z", r"ok\Z", r"\hok\h", r"a\Hb", r"[[:alpha:]]+[[:digit:]]",
    r"\d{2,}", r"[^[:space:]]x", r"[[:^digit:]]x", r"[[:punct:]]", "[[:xdigit:]]{2}", r"\Qa.b\E",
    r"\yes", "a{,2}b", "a{2}b", "a{x}b", "x{", "(?<n>a)b\\k<n>", "(?'n'a)b\\k{n}", r"(a)b\g1",
    r"(a)b\g{1}", r"(a)b\1", "a(?i)b", "a(?i)b|c", "(x(?i)y|z)w", "(?i)OK", "(?i:O)k", r"\x{6f}k",
    r"\x6fk", r"a\Rb", r"\Nk", r"\vk", "a++b", "(?>a+)b", "(?#comment)ok", "o(?# c )k", "é",
    "[é]", r"[\h]x", r"[a\]]b", "[]a]b", "[^]a]b", r"\e", "[[a]b", "a|b|", "(?:a|b)k", "(?=o)ok",
    "(?<!n)ok", "(?<=n)ok", r"\bok\b", r"o\.k", "(?s)a.b", "(?m)^ok", "(?x) o k", r"\/ok",
    "ok\\n", r"\s+", r"\S\s\S", ".", "", r"[\w.-]+@[\w.-]+", "{", "}", "a{,}b", "]", r"\-", r"\_",
    "[a-z&&x]", r"o\Bk", r"[\b]", "(ok)?k", "(?P<m>o)k",
]  # fmt: skip
BODIES = [
    b"ok", b"ok\n", b"not ok\nok", b"OK", b" ok ", b"a.b", b"Qa.bE", b"yes", b"aab", b"ab",
    b"a{x}b", b"aba", b"aB", b"ac", b"xYw", b"zw", b"a\r\nb", b"a\nb", b"a b", b"12 x", b"x1",
    b"\t\x0bk", b"x{", "caf\u00e9".encode(), b"\x1b", b"]b", b"[b", b"/ok", b"a@b.c", b"%", b"",
    b"-_&x", b"a\x08", b"af", b"bx", b"c",
]  # fmt: skip
ASK = r"""
use JSON::PP;
my ($patterns, $bodies) = @{decode_json(do { local $/; <STDIN> })};
my @found;
for my $pattern (@$patterns) {
    utf8::encode($pattern);
    push @found, [map { my $body = pack("H*", $_); eval { $body =~ /$pattern/ ? 1 : 0 } } @$bodies];
}
print encode_json(\@found);
"""


def test_every_pattern_finds_what_it_finds_in_perl():
    asked = json.dumps([PATTERNS, [body.hex() for body in BODIES]])
    perl = subprocess.run(
        [parts.program("perl"), "-e", ASK], input=asked, capture_output=True, text=True, check=True
    )
    for pattern, expected in zip(PATTERNS, json.loads(perl.stdout), strict=True):
        python = re.compile(perl_regex.translated(pattern).encode())
        found = [int(python.search(body) is not None) for body in BODIES]
        wrong = [
            body for body, one, other in zip(BODIES, found, expected, strict=True) if one != other
        ]
        assert wrong == [], f"{pattern} as {python.pattern!r}"


@pytest.mark.parametrize("pattern", ["OKAY", r"Test \w+, [a-z]{3}\.", '"status":"(up|fine)"'])
def test_most_patterns_are_the_same_text(pattern):
    assert perl_regex.translated(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(b", r"missing \)"),
        ("b)", "unbalanced parenthesis"),
        ("[b", "unterminated character set"),
        (r"\p{L}", "Unicode properties cannot be matched here"),
        ("(?R)", "unknown extension"),
        ("(?#never ends", "unterminated comment"),
        ("[[:^alpha:]]", r"\[:\^alpha:\] cannot be matched here"),
        (r"[\H]", r"\\H in a set cannot be matched here"),
        ("(?<=a+)b", "look-behind requires fixed-width pattern"),
        ("b\\", "bad escape"),
        ("*", "nothing to repeat"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(pattern, why):
    with pytest.raises(perl_regex.NoRegex, match=why):
        perl_regex.translated(pattern)
