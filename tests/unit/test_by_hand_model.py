"""Random lives of hands, checks and daemons, held against the rule in its shortest form."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onevip.engines.memory import MemoryEngine
from onevip.model import Change, Table
from unit.test_by_hand import KEEPING, ONE, TWO, killed, stopped
from unit.test_daemon_director import CF, GOOD, REFUSED, Desk

CONFIGURED = 2


@dataclass
class Rule:
    """What is set by hand stays until the next change of verdict of this server."""

    verdict: bool | None = None  # since the last start
    last: bool | None = None  # over starts
    hand: int | None = None
    weight: int = 0  # in the table

    @property
    def ours(self) -> int:
        return CONFIGURED if self.last else 0

    def judge(self, is_up: bool) -> None:
        if is_up is not self.last:
            self.hand = None
        self.verdict = self.last = is_up
        self.weight = self.ours if self.hand is None else self.hand

    def set_by_hand(self, weight: int) -> None:
        if weight == self.weight:
            return
        self.weight = weight
        self.hand = None if self.last is not None and weight == self.ours else weight

    def start_again(self, *, cleanly: bool) -> None:
        self.verdict = None
        if cleanly:
            self.weight = 0
            if self.hand is None:  # nothing to remember
                self.last = None

    def reload(self) -> None:
        if self.verdict is not None:
            self.weight = self.ours if self.hand is None else self.hand


class Dying(MemoryEngine):
    """Ends its daemon after so many changes."""

    def __init__(self, table: Table, after: int) -> None:
        super().__init__(table)
        self._left = after

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if not self._left:
                raise KeyboardInterrupt
            super().apply([change])
            self._left -= 1


def die(desk: Desk, text: str, address: str, *, is_up: bool, after: int) -> Desk:
    """The next daemon, after a kill -9 in the middle of what a verdict brought about."""
    desk.director._engine = desk.engine = Dying(desk.engine.table, after)
    with suppress(KeyboardInterrupt):
        desk.hear(address, GOOD if is_up else REFUSED)
    return killed(desk, text)


steps = st.one_of(
    st.tuples(st.sampled_from(["good", "bad"]), st.sampled_from([ONE, TWO]), st.just(0)),
    st.tuples(
        st.sampled_from(["good, killed", "bad, killed"]),
        st.sampled_from([ONE, TWO]),
        st.integers(0, 2),
    ),
    st.tuples(st.just("hand"), st.sampled_from([ONE, TWO]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["kill", "stop", "reload"]), st.just(""), st.just(0)),
)


@pytest.mark.parametrize("text", [KEEPING, "cleanstop=yes\n" + CF])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(steps, max_size=15))
def test_every_life_follows_the_rule(tmp_path_factory, text, story):
    desk = Desk(tmp_path_factory.mktemp("run")).start(text)
    rules = {ONE: Rule(), TWO: Rule()}
    for what, address, weight in story:
        if what in ("good", "bad"):
            desk.hear(address, GOOD if what == "good" else REFUSED)
            rules[address].judge(what == "good")
        elif what.endswith("killed"):
            weights = desk.weights()
            desk = die(desk, text, address, is_up=what.startswith("good"), after=weight)
            rules[address].judge(what.startswith("good"))
            new = rules[address].weight
            for rule in rules.values():
                rule.start_again(cleanly=False)
            rules[address].weight = desk.weights()[address]
            assert rules[address].weight in (weights[address], new)
        elif what == "hand":
            desk.edit(address, weight=weight)
            rules[address].set_by_hand(weight)
        elif what == "reload":
            desk.use(text)
            for rule in rules.values():
                rule.reload()
        else:
            desk = (killed if what == "kill" else stopped)(desk, text)
            for rule in rules.values():
                rule.start_again(cleanly=what == "stop" and text is not KEEPING)
        weights = dict(desk.weights())
        weights.pop("127.0.0.1", None)
        assert weights == {address: rule.weight for address, rule in rules.items()}
