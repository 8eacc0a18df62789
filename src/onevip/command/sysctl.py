"""`onevip sysctl`: the tunables of IPVS, shown and set in the words of sysctl(8)."""

from __future__ import annotations

import argparse
import textwrap
from difflib import get_close_matches

from onevip.command.environment import Environment
from onevip.model import TUNABLES, UnknownTunable, UsageError
from onevip.model.tunables import check_tunable

PREFIX = "net.ipv4.vs."
LONGEST = 20  # digits; Python refuses to read thousands of them

#: What the kernel's IPVS has beside them (spec ipvs §2): told apart from a slip of the pen.
KERNELS_ONLY = frozenset((
    "am_droprate", "amemthresh", "backup_only", "cache_bypass", "conn_lfactor", "conntrack",
    "debug_level", "drop_entry", "drop_packet", "est_cpulist", "est_nice", "ignore_tunneled",
    "nat_icmp_send", "pmtu_disc", "schedule_icmp", "snat_reroute", "svc_lfactor",
    "sync_persist_mode", "sync_ports", "sync_qlen_max", "sync_refresh_period", "sync_retries",
    "sync_sock_size", "sync_threshold", "sync_version",
))  # fmt: skip


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Show or set tunables; the exit status. Raises OnevipError.

    A name or value that does not fit is found before anything is set.
    """
    environment = environment or Environment()
    arguments = _parser().parse_args(argv)
    if arguments.all == bool(arguments.words):
        raise UsageError("sysctl: give names, or -a for all of them: see onevip sysctl --help")
    names = [] if arguments.all else [_name(word) for word in arguments.words]
    values = {
        name: _value(name, word)
        for name, word in zip(names, arguments.words, strict=False)
        if arguments.write or "=" in word
    }
    for name, value in values.items():
        check_tunable(name, value)
    engine = environment.engine()
    for name, value in values.items():
        engine.set_tunable(name, value)
    shown = engine.tunables()
    for name in sorted(shown) if arguments.all else names:
        what = "" if arguments.values else f"{PREFIX}{name} = "
        print(f"{what}{shown[name]}", file=environment.stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onevip sysctl",
        description="Show and set the tunables of this director, as sysctl(8) does those of\n"
        f"the kernel's IPVS. {PREFIX} may be left out, and / stands for a dot.",
        epilog=_tunables(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="NAME[=VALUE]", help="show it, or set it")
    parser.add_argument("-a", "--all", action="store_true", help="show all of them")
    parser.add_argument("-n", "--values", action="store_true", help="show values without names")
    parser.add_argument(
        "-w", "--write", action="store_true", help="every argument sets: NAME=VALUE"
    )
    return parser


def _tunables() -> str:
    """The table of `--help`."""
    lines = ["tunables (default, highest):"]
    for one in TUNABLES.values():
        lines.append(f"  {one.name} ({one.default}, {one.highest})")
        lines.append(textwrap.indent(textwrap.fill(one.effect, 72), "      "))
    return "\n".join(lines)


def _name(word: str) -> str:
    """The name of a tunable, as asked for or set. Raises UnknownTunable for another."""
    written = word.partition("=")[0].strip()
    name = written.replace("/", ".").removeprefix(PREFIX)
    if name in TUNABLES:
        return name
    if name in KERNELS_ONLY:
        raise UnknownTunable(f"sysctl: {name}: the kernel's IPVS has it, onevip does not")
    near = get_close_matches(name, TUNABLES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(TUNABLES)}"
    raise UnknownTunable(f"sysctl: there is no {written!r}: {hint}")


def _value(name: str, word: str) -> int:
    """The value of `NAME=VALUE`. Raises UsageError without one, UnknownTunable for no number."""
    _, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"sysctl: -w sets: write {name}=VALUE instead of {word}")
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
        raise UnknownTunable(
            f"sysctl: {name}: {text!r} is no number from 0 to {TUNABLES[name].highest}"
        )
    return int(text)
