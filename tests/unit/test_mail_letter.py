"""What stands in a mail: ldirectord's form, and nothing that a server or a name can break."""

from __future__ import annotations

import email
from dataclasses import replace
from email.policy import default

import pytest

from onevip.daemon.mail.letter import LONGEST, Alert, Destination, Host, letter
from onevip.model import Phase

HOST = Host("root", "vm")
TO = Destination(("a@x.org", "b@x.org"), ("a@x.org",), "Joe <joe@x.org>", "mx")
ALERT = Alert(
    "Deleted real server: 10.0.0.1:80 (192.0.2.1:80)",
    Phase.RUNNING,
    1_795_000_000.0,
    "<id@vm>",
    service_name="Web shop",
    comment="Call Joe",
)


def parsed(*alerts: Alert, destination: Destination = TO, left_out: int = 0):
    raw = letter(alerts, destination, HOST, left_out).as_bytes()
    return email.message_from_bytes(raw, policy=default), raw


def content_of(message) -> str:
    return message.get_content().replace("\r\n", "\n")


def test_a_single_alert_has_ldirectords_form():
    """Seen on the wire of Debian's ldirectord 1.186-ha; Date, Message-ID and MIME are ours."""
    _, raw = parsed(ALERT)
    lines = raw.decode("ascii").split("\r\n")
    subject = "[Web shop] Deleted real server: 10.0.0.1:80 (192.0.2.1:80)"
    assert lines[:3] == ["From: Joe <joe@x.org>", "To: a@x.org, b@x.org", f"Subject: {subject}"]
    assert lines[lines.index("") + 1 :] == [
        "ldirectord host: vm",
        f"Log-Message: {subject}",
        "Daemon-Status: running",
        "",
        "Service name: Web shop",
        "Comment: Call Joe",
        "",
        "",
    ]


def test_it_has_a_date_an_id_and_wants_no_answer():
    message, _ = parsed(ALERT)
    assert message["Date"].datetime.timestamp() == ALERT.at_s
    assert message["Message-ID"] == "<id@vm>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_without_a_name_nothing_stands_in_brackets():
    message, raw = parsed(replace(ALERT, service_name="", comment="", reason="timed out"))
    assert message["Subject"] == ALERT.sentence
    body = "ldirectord host: vm\r\nLog-Message: " + ALERT.sentence
    assert raw.decode().endswith(
        f"\r\n\r\n{body}\r\nDaemon-Status: running\r\nReason: timed out\r\n"
    )


def test_without_emailalertfrom_the_daemons_user_writes():
    nobody = replace(TO, sender="")
    assert parsed(ALERT, destination=nobody)[0]["From"] == "root@vm"
    local = replace(nobody, smtp_host="")
    assert parsed(ALERT, destination=local)[0]["From"] is None  # the mail system knows


def test_many_alerts_are_one_mail():
    others = [replace(ALERT, sentence=f"Added real server: {n}", reason="x") for n in range(499)]
    message, _ = parsed(ALERT, *others)
    assert message["Subject"] == f"[Web shop] {ALERT.sentence} and 499 more"
    body = content_of(message)
    assert body.count("Log-Message: [Web shop] ") == 500
    assert body.count("Daemon-Status: running") == 500
    assert body.startswith(f"ldirectord host: vm\nLog-Message: [Web shop] {ALERT.sentence}\n")


def test_what_was_left_out_is_mentioned():
    message, _ = parsed(ALERT, ALERT, left_out=7)
    assert message["Subject"].endswith(" and 8 more")
    assert content_of(message).endswith("\n7 earlier messages are left out.\n")


EVIL = "x\r\nBcc: evil@x.org\r\n\r\n.\r\nQUIT\x00\x1b[2J\u2028y"


@pytest.mark.parametrize("field", ["service_name", "comment", "reason", "sentence"])
def test_nothing_can_add_a_header_or_a_line(field):
    message, raw = parsed(replace(ALERT, **{field: EVIL}))
    assert set(message.keys()) == set(parsed(ALERT)[0].keys())
    assert b"\r\nBcc" not in raw
    assert b"\r\n.\r\n" not in raw
    content = content_of(message)
    assert len(content.splitlines()) <= 8
    assert content.replace("\n", "").isprintable()


@pytest.mark.parametrize("field", ["sender", "to"])
def test_nor_can_an_address(field):
    value = (EVIL,) if field == "to" else EVIL
    message, raw = parsed(ALERT, destination=replace(TO, **{field: value}))
    assert b"\r\nBcc" not in raw
    assert set(message.keys()) == set(parsed(ALERT)[0].keys())


def test_other_scripts_and_other_encodings_survive():
    name = "Büro Ω " + b"\xe9t\xe9".decode("utf-8", "surrogateescape")
    message, raw = parsed(
        replace(ALERT, service_name=name), destination=replace(TO, sender="Jö <j@x.org>")
    )
    assert raw.isascii()
    assert message["Subject"].startswith("[Büro Ω ")
    assert "Service name: Büro Ω " in message.get_content()
    assert str(message["From"]) == "Jö <j@x.org>"


def test_a_line_is_never_too_long_for_smtp():
    _, raw = parsed(
        replace(ALERT, comment="c" * 10_000, sentence="s" * 10_000, reason="é" * 10_000)
    )
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    _, raw = parsed(replace(ALERT, comment="c" * 10_000))
    assert max(map(len, raw.split(b"\r\n"))) == len("Comment: ") + LONGEST
