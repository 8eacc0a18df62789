"""Files like those that people write, with a mistake or two: each by one seed, always the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

#: What directives are given, rightly and wrongly.
VALUES = {
    "autoreload": ["yes", "no", "maybe", "yes ", '"yes"', "no # comment"],
    "callback": ['"/bin/true"', "/bin/true", '""', '"a" b'],
    "checkcommand": ['"/bin/check me"', "/bin/check", "", '""', "/bin/x # y"],
    "checkcount": ["3", "0", "x", "2s"],
    "checkinterval": ["7", "0", "x10y", "", "-5"],
    "checkport": ["80", "0", "65536", "http", "80x", "99999999999999999999"],
    "checktimeout": ["3", "0", "3s", "none"],
    "checktype": ["connect", "3", "ping", "0", "external-perl", "on ", "negotiate3", "Ping", ""],
    "cleanstop": ["yes", "no", "of course"],
    "comment": ["a comment", "", "with # hash"],
    "connecttimeout": ["3"],
    "database": ['"db"', "db", '""'],
    "emailalert": ["a@example.test", '"a@b.test"', '""', "", '"a@b.test" ', "a@b, c@d"],
    "emailalertfreq": ["60", "x60", "", "0"],
    "emailalertfrom": ["x@y.test", ""],
    "emailalertstatus": ["all", "none", "running,stopping", "all,none", "x", "", ",all", "all ,"],
    "execute": ["other.cf", ""],
    "failurecount": ["3", "0", "few"],
    "fallback": ["127.0.0.1", "127.0.0.1:80 gate", "[::1]", "127.0.0.1:nosuch", "127.0.0.1:80 nat",
                 "web1.example.test:81 masq extra", ":80", "", "127.0.0.1:domain masq",
                 "127.0.0.1:80gate", "127.0.0.1:0"],
    "fallback6": ["[::1]", "[::1]:80 gate", "::1", "127.0.0.1", "localhost:80 masq"],
    "fallbackcommand": ["/bin/x", '"/bin/x y"', '""', ""],
    "fork": ["yes", "no", "YES"],
    "httpmethod": ["get", "HEAD", "POST", '"GET"', "", "get-it"],
    "load": ['"a"', '""', '"-"', "x"],
    "logfile": ['"local0"', "local0", '""', '"/nonexistent/x"', '"/tmp"'],
    "login": ['"me"', "me", '""'],
    "maintenancedir": ["/tmp", "/nonexistent", ""],
    "monitorfile": ['"/nonexistent/x"', "/dev/null", '"/dev/null"', "/tmp"],
    "negotiatetimeout": ["4", "0"],
    "netmask": ["255.255.255.0", "24", "255.255.255.0 ", "64", "129", "0"],
    "ops": ["yes", "no", "1"],
    "passwd": ['"x"', '""'],
    "persistent": ["600", "s", "10 minutes"],
    "protocol": ["tcp", "udp", "fwm", "sctp", "", "tcp udp", "-tcp"],
    "quiescent": ["yes", "no", "yes#"],
    "readdquiescent": ["yes", "no", ""],
    "real": ["10.0.0.9:80 gate", "10.0.0.9 masq 3", "10.0.0.9:80 gate -w 1", "10.0.0.9:80",
             "10.0.0.5->10.0.0.7:80 ipip 0", "10.0.0.7->10.0.0.5:80 gate", "web1.example.test masq",
             '10.0.0.9:80 gate 5 "a","b"', '10.0.0.9:80 gate "a" , "b"', '10.0.0.9 gate 1 "",""',
             '10.0.0.9:80 gate 1 "http://x.test/y", "z"', "10.0.0.9::80 gate", "web_1:80 gate",
             "10.0.0.9:80 gate l:1 u:5", "10.0.0.9:80  gate 2 x l:1 u:5", "10.0.0.9:80 - gate",
             "10.0.0.9:80 gate 1 u:5", '10.0.0.9:80 gate "a9 b","c"', "[::1]:80 gate", "x->y gate",
             '10.0.0.9:80 gate1 "a","b"', '10.0.0.9:80 gate 1"a","b"', "sql01->sql03:nosuch masq",
             '10.0.0.9:80 gate 1 x "a","b" y', '10.0.0.9:80 gate 1 "l:5" "u:10"', "9:80 gate",
             "10.0.0.9:65536 gate", "10.0.0.9:8 masq", "web1.example.test:http gate 7 "],
    "real6": ["[2001:db8::2]:80 gate", "[2001:db8::2]->[2001:db8::3] gate", "[2001:db8::2] masq 2",
              "10.0.0.9:80 gate", "localhost:80 ipip", "2001:db8::2 gate", "[2001:db8:zz]:80 gate"],
    "receive": ['"ok"', '""', "ok", '"(broken"', '"a" b"'],
    "request": ['"index.html"', '"/x"', "x", '""', '"a#b"', '"http://a.test/"'],
    "schedflags": ["sh-port", "", "sh-port,sh-fallback more"],
    "scheduler": ["rr", "sh", "RR", "wlc ", "mh x", ""],
    "secret": ['"s"', "s", '""'],
    "service": ["http", "ftp", "sip", "htp", "http-x", "-http", "simpletcp", "none ", "https", ""],
    "servicename": ["name", ""],
    "smtp": ["mail.example.test", "-", "mail;x", "", "10.0.0.1"],
    "supervised": ["yes", "no", "x", "yes "],
    "timeout": ["3"],
    "virtualhost": ['"www.example.test"', "www", '"a"b', "", "a b"],
}  # fmt: skip
HEADS = [
    "virtual=10.0.0.1:80", "virtual=10.0.0.1:http", "virtual=7", "virtual=10.0.0.1:53",
    "virtual=www.example.test:21", "virtual = 10.0.0.1:domain", "virtual=10.0.0.1", "virtual=",
    "virtual=10.0.0.1:80.5 x", "virtual=[2001:db8::1]:80", "virtual=10.0.0.256:80", "virtual=x:80",
    "virtual=10.0.0.1:5060", "virtual6=[2001:db8::1]:80", "virtual6=9", "virtual6=localhost:53",
    "virtual6=10.0.0.1:80", "virtual6=[2001:db8:::1]:80", "virtual6=2001:db8::1", "virtual=:80",
    "virtual=10.0.0.1:99999", "virtual=10.0.0.1:", "virtual=10.0.0.1:3306", "virtual7=x",
]  # fmt: skip
_STRAY = ["supervised", "supervised ", "supervision=yes", "\ufeff", "checktimeout", "    ", "     ",
          "\t", "\t\t", " # comment", "#", "   x=1", "virtual", "=3", "a b=c", "\xa0"]  # fmt: skip
_BLANKS = ["", " ", "\t", "  "]
Lines = list[str]


def invented(seed: int) -> str:
    """A file of directives from the tables above, most of them in their place."""
    chance = random.Random(seed)
    lines = [_directive(chance) for _ in range(chance.randrange(3))]
    for _ in range(chance.choice((1, 1, 2))):
        lines.append(chance.choice(HEADS[:8] if chance.random() < 0.7 else HEADS))
        is_six = lines[-1].startswith("virtual6")
        wanted = ["real6" if is_six else "real"] * chance.randrange(1, 3)
        wanted += chance.choices(sorted(VALUES), k=chance.randrange(5))
        lines += [_indented(chance, _directive(chance, name)) for name in wanted]
    if chance.random() < 0.3:
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(_STRAY))
    return _ended(chance, lines)


def mutated(text: str, seed: int) -> str:
    """The text with a change or two."""
    chance = random.Random(seed)
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 3))):
        chance.choice(_CHANGES)(chance, lines)
    return "\n".join(lines)


def _directive(chance: random.Random, name: str = "") -> str:
    name = name or chance.choice(sorted(VALUES))
    equals = "=" if chance.random() < 0.8 else chance.choice(_BLANKS) + "=" + chance.choice(_BLANKS)
    return f"{name}{equals}{chance.choice(VALUES[name])}"


def _indented(chance: random.Random, line: str) -> str:
    usual = chance.random() < 0.95
    return chance.choice(["    ", "\t", "        "] if usual else ["   ", "", " \t", "  "]) + line


def _ended(chance: random.Random, lines: Sequence[str]) -> str:
    end = "\r\n" if chance.random() < 0.05 else "\n"
    return end.join(lines) + (end if chance.random() < 0.8 else "")


def _at(chance: random.Random, lines: Lines) -> int:
    return chance.randrange(len(lines))


def _blank_after(chance: random.Random, lines: Lines) -> None:
    lines[_at(chance, lines)] += chance.choice([" ", "\t", " # comment", "#", "\r"])


def _blank_before(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    lines[at] = chance.choice([" ", "\t", "    ", "   "]) + lines[at].lstrip(" \t")


def _twice(chance: random.Random, lines: Lines) -> None:
    lines.insert(_at(chance, lines), lines[_at(chance, lines)])


def _gone(chance: random.Random, lines: Lines) -> None:
    if len(lines) > 1:
        del lines[_at(chance, lines)]


def _swapped(chance: random.Random, lines: Lines) -> None:
    one, other = _at(chance, lines), _at(chance, lines)
    lines[one], lines[other] = lines[other], lines[one]


def _empty_line(chance: random.Random, lines: Lines) -> None:
    lines.insert(_at(chance, lines), chance.choice(["", "    ", "     ", "#", "\t# x", "\r"]))


def _another(chance: random.Random, lines: Lines) -> None:
    lines.insert(_at(chance, lines), _indented(chance, _directive(chance)))


def _letter(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    if line := lines[at]:
        where = chance.randrange(len(line))
        put = chance.choice([*list('="#:.,-> \t019aZé[]6'), ""])
        lines[at] = line[:where] + put + line[where + chance.randrange(2) :]


def _without_quotes(chance: random.Random, lines: Lines) -> None:
    quoted = [at for at, line in enumerate(lines) if '"' in line]
    if quoted:
        at = chance.choice(quoted)
        lines[at] = lines[at].replace('"', "", chance.choice([1, 2]))


def _in_quotes(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    lines[at] = re.sub(r"=\s*(.*)$", r'="\1"', lines[at])


def _number(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    value = chance.choice(["0", "1", "70000", "256", "-1", "x"])
    lines[at] = re.sub(r"\d+", value, lines[at], count=1)


def _capital(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    lines[at] = chance.choice([str.upper, str.lower, str.title])(lines[at])


def _six(chance: random.Random, lines: Lines) -> None:
    at = _at(chance, lines)
    lines[at] = re.sub(r"(virtual|real|fallback)6?", r"\g<1>6", lines[at])


def _dos(_chance: random.Random, lines: Lines) -> None:
    lines[:] = [line + "\r" for line in lines]


_CHANGES: tuple[Callable[[random.Random, Lines], None], ...] = (
    _blank_after, _blank_before, _twice, _gone, _swapped, _empty_line, _another, _another,
    _letter, _letter, _without_quotes, _in_quotes, _number, _capital, _six, _dos,
)  # fmt: skip
