"""The connection table's protocol, searched by Spin in every order its steps can come in.

connections.pml says what bpf/connections.h does, templates.pml what bpf/control.h does. An honest
scenario must pass with its whole state space seen; each mutant leaves one rule out and must be
refuted, by the property that the rule keeps; each witness shows that a scenario gets to a place at
all. Without ONEVIP_STRESS_S > 1 only the short ones run.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONG = float(os.environ.get("ONEVIP_STRESS_S", "1")) > 1
LIMIT_S = 600
MEMORY_MB = 6000
#: What pan says when it has not seen everything.
INCOMPLETE = ("max search depth too small", "not completed", "truncated", "MEMLIM", "out of memory")

# Properties, by what is recognised of them in pan's words.
LIVE_TWICE = "key_in[old]!=key_in["
NOT_SEARCHED = "mode<=2"
COUNTS_WRONG = "actives["
OVERFLOW_WRONG = "word[home]>>1"
LOCKED_TWICE = "&1)"
LEFT_BEHIND = "%8)==0"
WRONG_REAL = "real==key"
ACTIVE_EVICTED = "control[f]&4"
DEADLOCK = "invalid end state"
ENDED_IN_USE = "under["
NOT_ALIVE = "name==1"
NOT_COUNTED = "(word&7)>0"
STILL_COUNTED = "(word&7)==0"
OF_ANOTHER = "word_of=="


@dataclass(frozen=True, slots=True)
class Case:
    """A run of Spin: names defined for the model, and the property that a mutant must break."""

    defines: str
    breaks: str = ""
    long: bool = True
    model: str = "connections"

    @property
    def source(self) -> Path:
        return HERE / f"{self.model}.pml"

    def __str__(self) -> str:
        return self.defines.replace(" ", "-")


HONEST = (
    Case("CLOCK", long=False),
    Case("CLOCK PACKETS_1=2 ROUNDS=2"),
    Case("DELETE", long=False),
    Case("DELETE PACKETS_1=2 REUSE"),
    Case("STRANGER", long=False),
    Case("STRANGER ROUNDS=2 REUSE"),
    Case("GROW ALONE", long=False),
    Case("GROW"),
    Case("GROW ALONE PATIENT"),
    Case("GROW ALONE STRAIGHT MODE_AGAIN"),
    # the waits alone see to it that no word of another table is gone on from
    Case("SHRINK ALONE ANY_MODE"),
    Case("SHRINK ALONE OLD_MODE"),
    Case("SHRINK ALONE"),
    Case("SHRINK ALONE PATIENT"),
    Case("TURN_BACK ALONE"),
    Case("EVICT ROUNDS=0"),
    Case("EVICT"),
    Case("IDLE", long=False, model="templates"),
    Case("IDLE TICKS=2 ROUNDS=2", model="templates"),
    Case("IDLE CONNECTIONS=2", model="templates"),
    Case("ORPHAN", long=False, model="templates"),
    Case("ORPHAN ROUNDS=2", model="templates"),
    Case("UNUSABLE", model="templates"),
    Case("UNUSABLE CONNECTIONS=2", model="templates"),
)
MUTANTS = (
    Case("CLOCK PACKETS_1=2 NO_LOCK", LIVE_TWICE),
    Case("CLOCK PACKETS_1=2 NO_SEARCH_AGAIN", LIVE_TWICE),
    Case("CLOCK PACKETS_1=2 EXPIRE_BY_STORE", COUNTS_WRONG),
    Case("CLOCK PACKETS_1=2 COUNT_AFTER_PUBLISH", COUNTS_WRONG),
    Case("CLOCK PACKETS_1=2 ROUNDS=2 OVERFLOW_AFTER_PUBLISH", OVERFLOW_WRONG),
    Case("CLOCK PACKETS_1=2 ROUNDS=2 TOUCH_BY_STORE", COUNTS_WRONG),
    Case("CLOCK PACKETS_1=2 ROUNDS=2 RETRY_WITH_ANOTHER_READ", COUNTS_WRONG),
    Case("DELETE PACKETS_1=2 NO_REREAD", WRONG_REAL),
    Case("DELETE PACKETS=2 REAL_AFTER_RELEASE", COUNTS_WRONG),
    Case("DELETE PACKETS_1=2 EXISTING_UNTOUCHED", WRONG_REAL),
    Case("CLOCK PACKETS_1=2 WORD_AFTER_SEARCH", LIVE_TWICE, long=False),
    Case("CLOCK PACKETS_1=2 LOCK_BIT_IGNORED", LOCKED_TWICE, long=False),
    Case("CLOCK PACKETS_1=2 VERSION_STAYS", LIVE_TWICE, long=False),
    Case("STRANGER ROUNDS=2 WORD_AFTER_HIT", LIVE_TWICE, long=False),
    Case("GROW ALONE TWO_TABLES", LIVE_TWICE),
    Case("GROW ALONE STRAIGHT MODE_AGAIN OLD_MODE", LIVE_TWICE),
    Case("GROW ALONE NO_LAST_GRACE", LEFT_BEHIND),
    Case("GROW ALONE STRAIGHT", LIVE_TWICE),
    Case("GROW ALONE NO_GRACE", LIVE_TWICE),
    Case("GROW ALONE NO_SECOND_GRACE", NOT_SEARCHED),
    Case("GROW ALONE STRAIGHT MODE_AGAIN NO_SECOND_GRACE", NOT_SEARCHED),
    Case("GROW ALONE NO_EMPTY_WAIT", NOT_SEARCHED),
    Case("GROW ALONE EMPTY_BEFORE_GRACE", NOT_SEARCHED),
    Case("GROW ALONE ONE_LOCK", LIVE_TWICE),
    Case("GROW ALONE STRAIGHT MODE_AGAIN ONE_LOCK", LIVE_TWICE),
    Case("GROW ALONE OTHER_LOCK", LIVE_TWICE),
    Case("GROW ALONE PATIENT INSERT_LOCK_FIRST", DEADLOCK),
    Case("EVICT ROUNDS=0 EVICT_BY_STORE", ACTIVE_EVICTED),
    Case("EVICT ROUNDS=0 EVICT_ACTIVE", ACTIVE_EVICTED),
    Case("EVICT ROUNDS=0 NO_REREAD", WRONG_REAL),
    Case("IDLE TOUCH_FIRST", NOT_COUNTED, long=False, model="templates"),
    Case("IDLE ANY_WORD", OF_ANOTHER, model="templates"),
    Case("IDLE ANY_GENERATION", NOT_ALIVE, long=False, model="templates"),
    Case("IDLE UNDO_ALWAYS", NOT_COUNTED, long=False, model="templates"),
    Case("UNUSABLE NO_UNDO", STILL_COUNTED, model="templates"),
    Case("IDLE REARM_BY_STORE", STILL_COUNTED, model="templates"),
    Case("IDLE WORD_IGNORED", ENDED_IN_USE, model="templates"),
    Case("IDLE HANDLE_READ_LATE", NOT_ALIVE, model="templates"),
    Case("IDLE TWO_SWEEPERS", OF_ANOTHER, model="templates"),
    Case("ORPHAN ORPHAN_AT_ONCE", NOT_ALIVE, long=False, model="templates"),
    Case("ORPHAN NO_SECOND_LOOK", NOT_ALIVE, model="templates"),
    Case("ORPHAN DISABLED_ADOPTS", NOT_ALIVE, model="templates"),
)
#: Places that each scenario gets to, by their names in the model.
WITNESSES = {
    "CLOCK PACKETS=2": "EXISTED MET_AWAY OVERTAKEN DIED_UNDER_US GAVE_UP RENEWED",
    "DELETE PACKETS=2": "EXISTED MET_AWAY OVERTAKEN DIED_UNDER_US GAVE_UP RENEWED",
    "STRANGER ROUNDS=2 REUSE": "WENT_ON WORD_HAD_MOVED REOPENED",
    "GROW": "EXISTED MET_AWAY MET_IN_OTHER_TABLE EXPIRED_IN_OTHER_TABLE DIED_UNDER_US GAVE_UP",
    "SHRINK": "MET_IN_OTHER_TABLE EXPIRED_IN_OTHER_TABLE WENT_ON WORD_HAD_MOVED",
    "EVICT": "EVICTED EVICTED_OF_ANOTHER_HOME EVICTION_DEFEATED SNATCHED GAVE_UP RENEWED",
}
TEMPLATE_WITNESSES = {
    "IDLE": "SHARED CAME_TOO_LATE DEFEATED_SWEEPER REARMED_WITH_OTHERS SLOT_OF_STRANGER MADE_ANEW",
    "ORPHAN": "ORPHAN_ENDED ORPHAN_SPARED",
    "UNUSABLE": "DISABLED_WITH_OTHERS",
}
REACHED = tuple(
    Case(f"{scenario} WITNESS={place}", place, long=place != "REOPENED")
    for scenario, places in WITNESSES.items()
    for place in places.split()
) + tuple(
    Case(f"{scenario} WITNESS={place}", place, model="templates")
    for scenario, places in TEMPLATE_WITNESSES.items()
    for place in places.split()
)


@dataclass(frozen=True, slots=True)
class Search:
    """What Spin's program said: errors found, states stored, and all its words."""

    errors: int
    states: int
    text: str

    @property
    def is_complete(self) -> bool:
        return not any(words in self.text for words in INCOMPLETE)


def search(case: Case, folder: Path, optimise: str) -> Search:
    """Makes the model's search program in this folder and runs it to its end or first error."""
    defines = [f"-D{name}" for name in case.defines.split()]
    compiler = ["gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}"]
    for command in (["spin", "-a", *defines, str(case.source)], [*compiler, "-o", "pan", "pan.c"]):
        made = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        assert made.returncode == 0, made.stdout + made.stderr
    # -n: no list of unreached lines; -m, -w: depth of the search, bits of its hash table
    done = subprocess.run(
        ["./pan", "-n", "-m200000", "-w24" if case.long else "-w20"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    text = done.stdout + done.stderr
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"(\S+) states, stored", text)
    assert errors is not None, text
    assert states is not None, text
    return Search(int(errors[1]), int(float(states[1])), text)


def long_or_short(cases: tuple[Case, ...]) -> list[Case]:
    return [case for case in cases if LONG or not case.long]


@pytest.mark.parametrize("case", long_or_short(HONEST), ids=str)
def test_the_protocol_holds_in_every_order(case: Case, tmp_path: Path) -> None:
    found = search(case, tmp_path, "-O2" if case.long else "-O0")
    assert found.errors == 0, found.text
    assert found.is_complete, found.text
    print(f"{case}: {found.states} states")


@pytest.mark.parametrize("case", long_or_short(MUTANTS), ids=str)
def test_without_a_rule_it_does_not(case: Case, tmp_path: Path) -> None:
    found = search(case, tmp_path, "-O0")
    assert found.errors == 1, found.text
    assert case.breaks in found.text, found.text


@pytest.mark.parametrize("case", long_or_short(REACHED), ids=str)
def test_the_scenario_gets_there(case: Case, tmp_path: Path) -> None:
    found = search(case, tmp_path, "-O0")
    assert found.errors == 1, found.text
    number = re.search(rf"#define {case.breaks} (\d+)\n", case.source.read_text())
    assert number is not None
    assert f"{number[1]}!={number[1]}" in found.text.replace("(", "").replace(")", ""), found.text
