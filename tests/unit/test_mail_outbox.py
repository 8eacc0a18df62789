"""Gathering, trying again, giving up, ending: by a manual clock, with a scripted postman."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from manual_clock import ManualClock, settle
from onevip.daemon.mail import outbox
from onevip.daemon.mail.carriers import NotNow, Refused
from onevip.daemon.mail.letter import Alert, Destination, Host
from onevip.daemon.mail.outbox import CLOSE_S, MAX_WAITING, MOST_SINGLE, PATIENCE_S, Outbox
from onevip.model import Phase

OPS = Destination(("ops@x.org",), ("ops@x.org",), "", "mx")
BOSS = Destination(("boss@x.org",), ("boss@x.org",), "", "mx")


@dataclass
class Postman:
    """Delivers, or does what the script says: an error is raised, an event is waited for."""

    script: list[Exception | asyncio.Event] = field(default_factory=list)
    mails: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    tries: int = 0

    async def carry(self, message, destination, host) -> None:
        self.tries += 1
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                raise step
        self.mails.append((destination.recipients[0], message["Subject"]))
        self.bodies.append(message.get_content())


@dataclass
class Stage:
    clock: ManualClock
    postman: Postman
    outbox: Outbox

    def post(self, *sentences: str, destination: Destination = OPS) -> None:
        for sentence in sentences:
            alert = Alert(sentence, Phase.RUNNING, self.clock(), "<id@vm>")
            self.outbox.post(alert, destination)

    @property
    def subjects(self) -> list[str]:
        return [subject for _, subject in self.postman.mails]


def play(story: Callable[[Stage], Awaitable[None]], *script: Exception) -> Stage:
    async def life() -> Stage:
        clock, postman = ManualClock(), Postman(list(script))
        box = Outbox(Host("root", "vm"), carry=postman.carry, clock=clock, sleep=clock.sleep)
        stage = Stage(clock, postman, box)
        await story(stage)
        return stage

    return asyncio.run(life())


def test_a_few_go_singly_within_a_second_or_two():
    async def story(stage):
        stage.post("one", "two")
        stage.post("three", destination=BOSS)
        await settle()
        assert stage.subjects == []
        await stage.clock.goes(1)
        assert sorted(stage.subjects) == ["one", "three", "two"]
        stage.post("four")
        await stage.clock.goes(1)
        assert stage.postman.mails[-1] == ("ops@x.org", "four")

    play(story)


def test_a_burst_is_one_mail():
    async def story(stage):
        stage.post(*(f"change {number}" for number in range(500)))
        await stage.clock.goes(1)
        assert stage.subjects == ["change 0 and 499 more"]
        assert stage.postman.bodies[0].count("Log-Message: ") == 500

    play(story)


def test_the_limit_of_single_ones():
    async def story(stage):
        stage.post(*"abcde"[:MOST_SINGLE])
        await stage.clock.goes(1)
        assert len(stage.subjects) == MOST_SINGLE
        stage.post(*"abcdef")
        await stage.clock.goes(1)
        assert stage.subjects[MOST_SINGLE:] == ["a and 5 more"]

    play(story)


def test_it_is_tried_again_with_growing_pauses_and_said_once(caplog):
    async def story(stage):
        began = stage.clock()
        stage.post("down")
        for expected in (1, 2, 3, 4, 5, 6):
            while stage.postman.tries < expected:
                await stage.clock.goes(1)
        assert stage.clock() - began == pytest.approx(1 + 5 + 10 + 20 + 40 + 60)
        await settle()
        assert stage.subjects == ["down"]

    caplog.set_level(logging.INFO, "onevip")
    play(story, *[NotNow("connection refused")] * 5)
    assert caplog.messages == [
        "emailalert: no mail to ops@x.org for now, trying again for 300 s: connection refused",
        "emailalert: mails to ops@x.org are sent again",
    ]


def test_what_comes_meanwhile_goes_with_it():
    async def story(stage):
        stage.post("first")
        await stage.clock.goes(1)
        stage.post(*"abcdefgh")
        await stage.clock.goes(5)
        assert stage.subjects == ["first and 8 more"]
        assert stage.postman.tries == 2

    play(story, NotNow("421 busy"))


def test_it_is_given_up_after_some_minutes(caplog):
    async def story(stage):
        stage.post("down", "out")
        await stage.clock.goes(2 * PATIENCE_S)
        tries = stage.postman.tries
        await stage.clock.goes(2 * PATIENCE_S)
        assert stage.postman.tries == tries
        assert stage.subjects == []
        stage.post("up")
        await stage.clock.goes(1)
        assert stage.subjects == ["up"]

    play(story, *[NotNow("connection refused")] * 8)
    assert caplog.messages[-1] == (
        "emailalert: down and 1 more could not be sent to ops@x.org, tried for 300 s: "
        "connection refused"
    )


def test_what_is_refused_is_not_tried_again_and_the_others_go(caplog):
    async def story(stage):
        stage.post("one", "two")
        await stage.clock.goes(PATIENCE_S)
        assert stage.subjects == ["two"]
        assert stage.postman.tries == 2

    play(story, Refused("550 no such user"))
    assert caplog.messages == [
        "emailalert: one could not be sent to ops@x.org, it was refused: 550 no such user"
    ]


def test_one_destination_in_trouble_is_no_trouble_of_others():
    async def story(stage):
        hanging = asyncio.Event()
        stage.postman.script = [hanging]
        stage.post("one")
        stage.post("two", destination=BOSS)
        await stage.clock.goes(1)
        assert stage.subjects == ["two"]
        stage.post("three", destination=BOSS)
        await stage.clock.goes(1)
        assert stage.subjects == ["two", "three"]
        hanging.set()
        await settle()
        assert stage.subjects[-1] == "one"

    play(story)


def test_no_server_is_flooded_with_sessions(monkeypatch):
    monkeypatch.setattr(outbox, "MAX_SESSIONS", 2)

    async def story(stage):
        hanging = asyncio.Event()
        stage.postman.script = [hanging] * 5
        for number in range(5):
            name = (f"{number}@x.org",)
            stage.post("x", destination=Destination(name, name, "", "mx"))
        elsewhere = replace(BOSS, smtp_host="other")
        stage.postman.script[2] = asyncio.Event()
        stage.post("y", destination=elsewhere)
        await stage.clock.goes(1)
        assert stage.postman.tries == 3  # two there, one elsewhere
        await stage.outbox.close()

    monkeypatch.setattr(outbox, "CLOSE_S", 0.01)
    play(story)


def test_the_queue_is_bounded_and_says_what_it_left_out():
    async def story(stage):
        stage.post(*(f"change {number}" for number in range(MAX_WAITING + 7)))
        await stage.clock.goes(1)
        assert stage.subjects == [f"change 7 and {MAX_WAITING + 6} more"]
        assert "7 earlier messages are left out." in stage.postman.bodies[0]

    play(story)


def test_at_the_end_what_waits_is_sent_at_once():
    async def story(stage):
        stage.post("last words")
        await stage.outbox.close()
        assert stage.subjects == ["last words"]

    play(story)


def test_at_the_end_a_pause_between_two_tries_is_cut_short(caplog):
    async def story(stage):
        stage.post("one", "two")
        await stage.clock.goes(1)
        await stage.outbox.close()
        assert stage.postman.tries == 2

    play(story, NotNow("421 busy"), NotNow("421 still busy"))
    assert caplog.messages[-1] == (
        "emailalert: one and 1 more could not be sent to ops@x.org, onevip ends: 421 still busy"
    )


def test_the_end_waits_only_for_seconds(caplog, monkeypatch):
    monkeypatch.setattr(outbox, "CLOSE_S", CLOSE_S / 100)

    async def story(stage):
        stage.postman.script = [asyncio.Event()]
        stage.post("stuck")
        await stage.outbox.close()

    play(story)
    assert caplog.messages == [
        "emailalert: stuck could not be sent to ops@x.org, onevip ends: no time left"
    ]


def test_a_bug_loses_a_mail_and_no_more(caplog):
    async def story(stage):
        stage.post("one")
        await stage.clock.goes(1)
        stage.post("two")
        await stage.clock.goes(1)
        assert stage.subjects == ["two"]

    play(story, ValueError("a bug"))
    assert caplog.messages == ["emailalert: what was for ops@x.org is lost"]
