"""Which event is mailed to whom, in which phase, and how often again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from happenings import (
    FALLBACK,
    MAIL,
    ONE,
    TWO,
    WEB,
    changed,
    configuration,
    configured,
    probed,
    real,
    state,
    table,
    verdict_changed,
)
from manual_clock import ManualClock
from onevip.daemon.events import Reloaded, Started, Stopping
from onevip.daemon.mail.alerts import MailAlerts
from onevip.daemon.mail.letter import Alert, Destination
from onevip.health import Verdict
from onevip.model import (
    AddRealServer,
    AddService,
    CheckType,
    Configuration,
    DeleteRealServer,
    DeleteService,
    EditRealServer,
    Outcome,
    Phase,
    RealServer,
)

IT = "10.0.0.1:80 (192.0.2.1:80)"
ZERO = replace(ONE, weight=0)
CONF = configuration()
EAGER = configuration(configured(mail=replace(MAIL, repeat_s=60.0)))


@dataclass
class Box:
    """Takes alerts and keeps them."""

    posted: list[tuple[Alert, Destination]] = field(default_factory=list)

    def post(self, alert: Alert, destination: Destination) -> None:
        self.posted.append((alert, destination))

    async def close(self) -> None: ...

    @property
    def said(self) -> list[tuple[str, str]]:
        """Phase and sentence of each; then forgotten."""
        said = [(alert.phase.value, alert.sentence) for alert, _ in self.posted]
        self.posted.clear()
        return said


class Stage:
    def __init__(self) -> None:
        self.clock, self.box = ManualClock(), Box()
        self.alerts = MailAlerts(self.box, clock=self.clock, sleep=self.clock.sleep)

    def start(self, conf: Configuration = CONF) -> None:
        """As the loop does: first the changes, then Started."""
        self.change(AddService(WEB, "wlc"), conf, phase=Phase.STARTING)
        self.alerts.heard(Started(conf))

    def change(self, change, conf: Configuration = CONF, *, before=None, **more) -> None:
        self.alerts.heard(changed(change, before or table(), conf, **more))

    def goes_down(self, server: RealServer = ONE, conf: Configuration = CONF) -> None:
        self.alerts.heard(verdict_changed(server, Verdict.DOWN, server, None))
        self.change(DeleteRealServer(WEB, server.key), conf, verdict=state(Verdict.DOWN))

    def comes_up(self, server: RealServer = ONE, conf: Configuration = CONF) -> None:
        self.alerts.heard(verdict_changed(server, Verdict.UP, None, server))
        self.change(AddRealServer(WEB, server), conf, verdict=state(Verdict.UP))


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def life() -> None:
        stage = Stage()
        await story(stage)
        await stage.alerts.close()

    asyncio.run(life())


def test_down_and_up_are_mailed_to_each_address(caplog):
    async def story(stage):
        mail = replace(MAIL, to=("a@x.org", "b@x.org"), sender="Joe <j@x.org>")
        conf = configuration(configured(mail=mail, service_name="shop", comment="call Joe"))
        stage.start(conf)
        stage.comes_up(conf=conf)
        stage.box.posted.clear()
        stage.goes_down(conf=conf)
        (first, to_a), (second, to_b) = stage.box.posted
        assert first == second
        assert first.subject == f"[shop] Deleted real server: {IT}"
        assert (first.reason, first.comment) == ("connection refused", "call Joe")
        both = ("a@x.org", "b@x.org")
        assert to_a == Destination(both, both[:1], "Joe <j@x.org>", "mx.example.org")
        assert to_b == Destination(both, both[1:], "Joe <j@x.org>", "mx.example.org")
        stage.box.posted.clear()
        stage.comes_up(conf=conf)
        assert stage.box.said == 2 * [("running", f"Added real server: {IT} (Weight set to 2)")]

    caplog.set_level(logging.INFO, "onevip")
    play(story)
    assert caplog.messages[-2:] == [  # once, however many hear of it, and without the name
        f"emailalert: Deleted real server: {IT}",
        f"emailalert: Added real server: {IT} (Weight set to 2)",
    ]


def test_the_local_sendmail_gets_one_mail_for_all():
    async def story(stage):
        conf = configuration(configured(mail=replace(MAIL, to=("a@x.org", "root"), smtp_host="")))
        stage.start(conf)
        stage.goes_down(conf=conf)
        ((_, destination),) = stage.box.posted
        assert destination.recipients == ("a@x.org", "root")

    play(story)


@pytest.mark.parametrize("mail", [None, replace(MAIL, to=()), replace(MAIL, phases=frozenset())])
def test_who_wants_no_mail_gets_none(mail):
    async def story(stage):
        conf = configuration(configured(mail=mail))
        stage.start(conf)
        stage.goes_down(conf=conf)
        assert stage.box.said == []

    play(story)


def test_first_verdicts_belong_to_the_start():
    async def story(stage):
        stage.start()
        stage.comes_up()
        stage.change(DeleteRealServer(WEB, FALLBACK.key))
        stage.alerts.heard(verdict_changed(TWO, Verdict.DOWN, None, None))
        assert stage.box.said == [
            ("starting", f"Added real server: {IT} (Weight set to 2)"),
            ("starting", "Deleted fallback server: 127.0.0.1:80 (192.0.2.1:80)"),
            ("starting", "Inaccessible real server: 10.0.0.2:80 (192.0.2.1:80)"),
        ]
        stage.goes_down()
        stage.change(AddRealServer(WEB, FALLBACK))
        assert [phase for phase, _ in stage.box.said] == ["running", "running"]

    play(story)


def test_with_emailalertstatus_running_a_start_is_silent_and_what_follows_is_not():
    async def story(stage):
        mail = replace(MAIL, phases=frozenset([Phase.RUNNING]))
        conf = configuration(configured(mail=mail))
        stage.start(conf)
        stage.comes_up(conf=conf)
        stage.comes_up(TWO, conf=conf)
        assert stage.box.said == []
        stage.goes_down(conf=conf)
        assert stage.box.said == [("running", f"Deleted real server: {IT}")]

    play(story)


def test_a_reload_has_its_own_phase_for_what_is_new_in_it():
    async def story(stage):
        stage.start()
        stage.comes_up()
        new = real(3)
        conf = configuration(configured(WEB, ONE, new))
        stage.alerts.heard(Reloaded(conf, CONF))
        stage.box.posted.clear()
        stage.change(DeleteRealServer(WEB, TWO.key), conf, phase=Phase.RELOADING)
        stage.comes_up(new, conf)
        stage.goes_down(ONE, conf)  # its check is the one it was
        assert stage.box.said == [
            ("reloading", "Purged real server (start): 10.0.0.2:80 (192.0.2.1:80)"),
            ("reloading", "Added real server: 10.0.0.3:80 (192.0.2.1:80) (Weight set to 2)"),
            ("running", f"Deleted real server: {IT}"),
        ]

    play(story)


def test_the_end():
    async def story(stage):
        stage.start()
        stage.alerts.heard(Stopping(CONF, "TERM"))
        stage.change(DeleteService(WEB), before=table(ONE, TWO), phase=Phase.STOPPING)
        assert stage.box.said == [
            ("stopping", f"Purged real server (stop): {IT}"),
            ("stopping", "Purged real server (stop): 10.0.0.2:80 (192.0.2.1:80)"),
        ]

    play(story)


def test_a_server_without_verdict_is_not_mailed_about():
    async def story(stage):
        stage.change(AddRealServer(WEB, ZERO), phase=Phase.STARTING)
        stage.alerts.heard(Started(CONF))
        assert stage.box.said == []
        stage.alerts.heard(verdict_changed(ONE, Verdict.DOWN, ZERO, ZERO))
        assert stage.box.said == [("starting", f"Quiescent real server: {IT} (Weight set to 0)")]

    play(story)


def test_a_repair_of_the_table_long_after_the_start_is_no_part_of_it():
    async def story(stage):
        stage.start()
        stage.comes_up()
        stage.box.posted.clear()
        stage.change(EditRealServer(WEB, ONE))
        assert stage.box.said == [("running", f"Restored real server: {IT} (Weight set to 2)")]

    play(story)


def test_a_server_that_is_never_probed_has_no_first_verdict_to_wait_for():
    """checktype=on: only a maintenance directory takes it down, whenever that is."""

    async def story(stage):
        service = configured(WEB, ONE)
        (server,) = service.real_servers
        always = replace(server, check=replace(server.check, type=CheckType.ON))
        conf = configuration(replace(service, real_servers=(always,)))
        stage.start(conf)
        stage.goes_down(conf=conf)
        assert stage.box.said == [("running", f"Deleted real server: {IT}")]

    play(story)


def test_a_server_that_is_down_is_mailed_about_though_the_table_cannot_be_changed():
    async def story(stage):
        stage.start()
        stage.alerts.heard(verdict_changed(ONE, Verdict.DOWN, ONE, None, applied=False))
        assert stage.box.said == [("starting", f"Inaccessible real server: {IT}")]

    play(story)


def test_reminders_until_it_is_up_again():
    async def story(stage):
        stage.start(EAGER)
        stage.comes_up(conf=EAGER)
        stage.goes_down(conf=EAGER)
        stage.box.posted.clear()
        await stage.clock.goes(59)
        assert stage.box.said == []
        stage.alerts.heard(probed(ONE, Outcome(False, "timed out"), EAGER))
        stage.alerts.heard(probed(ONE, Outcome(False, "no descriptors", tried=False), EAGER))
        await stage.clock.goes(2)
        assert stage.box.posted[0][0].reason == "timed out"
        rising = probed(ONE, Outcome(True, "status 200"), EAGER)  # risecount: it is still down
        down = state(Verdict.DOWN, "status 200")
        stage.alerts.heard(replace(rising, probed=replace(rising.probed, after=down)))
        assert stage.box.said == [("running", f"Inaccessible real server: {IT}")]
        await stage.clock.goes(240)
        assert stage.box.posted[-1][0].reason == "timed out"
        assert len(stage.box.said) == 4
        stage.comes_up(conf=EAGER)
        stage.box.posted.clear()
        await stage.clock.goes(300)
        assert stage.box.said == []

    play(story)


def test_reminders_end_with_the_server_and_with_the_daemon():
    async def story(stage):
        stage.start(EAGER)
        stage.goes_down(ONE, EAGER)
        stage.goes_down(TWO, EAGER)
        without_one = configuration(configured(WEB, TWO, mail=EAGER.services[0].mail))
        stage.alerts.heard(Reloaded(without_one, EAGER))
        stage.box.posted.clear()
        await stage.clock.goes(61)
        only_two = [("running", "Inaccessible real server: 10.0.0.2:80 (192.0.2.1:80)")]
        assert stage.box.said == only_two
        stage.alerts.heard(Stopping(without_one, "TERM"))
        await stage.clock.goes(300)
        assert stage.box.said == []

    play(story)


def test_without_emailalertfreq_nobody_is_reminded():
    async def story(stage):
        stage.start()
        stage.goes_down()
        stage.box.posted.clear()
        await stage.clock.goes(3600)
        assert stage.box.said == []

    play(story)
