"""`onevip sysctl`: tunables shown and set, and what is told of names that are none."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from onevip.command.environment import Environment
from onevip.command.main import main as onevip
from onevip.command.sysctl import KERNELS_ONLY, main
from onevip.engines.memory import MemoryEngine
from onevip.model import TUNABLES, UnknownTunable, UsageError

PAGE = Path(__file__).parents[2] / "docs" / "sysctl.md"


class Sysctl:
    """`sysctl("-a")` returns what it printed."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()

    def __call__(self, *argv: str) -> str:
        out = io.StringIO()
        assert main(list(argv), Environment(stdout=out, engine=lambda: self.engine)) == 0
        return out.getvalue()


@pytest.fixture
def sysctl() -> Sysctl:
    return Sysctl()


@pytest.mark.parametrize(
    "word",
    [
        "conn_reuse_mode",
        "net.ipv4.vs.conn_reuse_mode",
        "net/ipv4/vs/conn_reuse_mode",
    ],
)
def test_a_name_is_shown_with_its_value(sysctl, word):
    sysctl.engine.set_tunable("conn_reuse_mode", 3)
    assert sysctl(word) == "net.ipv4.vs.conn_reuse_mode = 3\n"
    assert sysctl("-n", word) == "3\n"


def test_names_are_shown_in_the_order_asked_for(sysctl):
    assert sysctl("sloppy_tcp", "lblc_expiration") == (
        "net.ipv4.vs.sloppy_tcp = 0\nnet.ipv4.vs.lblc_expiration = 86400\n"
    )


def test_all_are_shown_by_name(sysctl):
    assert sysctl("-a") == "".join(
        f"net.ipv4.vs.{name} = {TUNABLES[name].default}\n" for name in sorted(TUNABLES)
    )
    assert sysctl("-an").split() == [str(TUNABLES[name].default) for name in sorted(TUNABLES)]


@pytest.mark.parametrize(
    "words",
    [
        ("-w", "secure_tcp=3"),
        ("secure_tcp=3",),
        ("-w", "net/ipv4/vs/secure_tcp=3"),
        ("net.ipv4.vs.secure_tcp = 3",),
    ],
)
def test_a_value_is_set_and_printed(sysctl, words):
    assert sysctl(*words) == "net.ipv4.vs.secure_tcp = 3\n"
    assert sysctl.engine.tunables()["secure_tcp"] == 3


def test_several_are_set_and_shown_together(sysctl):
    assert sysctl("-n", "sloppy_tcp=1", "sloppy_sctp", "lblc_expiration=2147483647") == (
        "1\n0\n2147483647\n"
    )
    assert sysctl.engine.tuned == {"sloppy_tcp": 1, "lblc_expiration": 2147483647}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("sloppy_tcp=2", "sloppy_tcp: 2 is not in 0..1"),
        ("sloppy_tcp=-1", "sysctl: sloppy_tcp: '-1' is no number from 0 to 1"),
        ("sloppy_tcp=", "sysctl: sloppy_tcp: '' is no number from 0 to 1"),
        ("sloppy_tcp=yes", "sysctl: sloppy_tcp: 'yes' is no number from 0 to 1"),
        ("sloppy_tcp=\u0661", "sysctl: sloppy_tcp: '\u0661' is no number from 0 to 1"),
        (
            "sloppy_tcp=" + 5000 * "1",
            f"sysctl: sloppy_tcp: '{5000 * '1'}' is no number from 0 to 1",
        ),
        ("sloppy_udp=1", "sysctl: there is no 'sloppy_udp': did you mean sloppy_tcp?"),
        (
            "net.ipv4.vs.sloppytcp",
            "sysctl: there is no 'net.ipv4.vs.sloppytcp': did you mean sloppy_tcp?",
        ),
        (
            "net.ipv4.ip_forward",
            f"sysctl: there is no 'net.ipv4.ip_forward': there are {', '.join(TUNABLES)}",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_nothing_is_set(sysctl, word, sentence):
    with pytest.raises(UnknownTunable) as refused:
        sysctl("-w" if "=" in word else "-n", *["secure_tcp=1"][: "=" in word], word)
    assert str(refused.value) == sentence
    assert sysctl.engine.tuned == {}


@pytest.mark.parametrize("name", sorted(KERNELS_ONLY))
def test_a_name_that_only_the_kernel_has_is_told_as_such(sysctl, name):
    with pytest.raises(UnknownTunable) as refused:
        sysctl(f"net.ipv4.vs.{name}=1")
    assert str(refused.value) == f"sysctl: {name}: the kernel's IPVS has it, onevip does not"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "sysctl: give names, or -a for all of them: see onevip sysctl --help"),
        (
            ("-a", "secure_tcp"),
            "sysctl: give names, or -a for all of them: see onevip sysctl --help",
        ),
        (("-w", "secure_tcp"), "sysctl: -w sets: write secure_tcp=VALUE instead of secure_tcp"),
    ],
)
def test_a_command_line_that_makes_no_sense(sysctl, words, sentence):
    with pytest.raises(UsageError) as refused:
        sysctl(*words)
    assert str(refused.value) == sentence


def test_the_exit_status_is_1(capsys):
    assert onevip(["sysctl", "drop_entry"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "onevip: sysctl: drop_entry: the kernel's IPVS has it, onevip does not\n"


def test_help_names_every_tunable_with_default_and_effect(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for one in TUNABLES.values():
        assert f" {one.name} ({one.default}, {one.highest}) {one.effect}" in printed


def test_the_page_says_what_the_model_says():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | {one.default} | {one.highest} | {one.effect} |"
        for one in TUNABLES.values()
    ]
