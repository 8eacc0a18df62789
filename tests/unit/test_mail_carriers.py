"""A mail to servers that take it, refuse it, hang, leave or are not there; and to sendmail."""

from __future__ import annotations

import asyncio
import socket
import stat
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from onevip.daemon.mail import sendmail as local
from onevip.daemon.mail import smtp
from onevip.daemon.mail.carriers import NotNow, Refused, carry
from onevip.daemon.mail.letter import Alert, Destination, Host, letter
from onevip.model import Phase
from smtp_server import HANG, LEAVE, smtp_server

HOST = Host("root", "vm")
OPS = Destination(("ops@x.org", "b@x.org"), ("ops@x.org",), "", "127.0.0.1")
LOCAL = Destination(("ops@x.org", "root"), ("ops@x.org", "root"), "", "")


SENTENCE = f"Deleted real server: [2001:db8::{'1234:' * 4}1]:80 (192.0.2.1:80) (Weight set to 0)"


def message(destination: Destination = OPS) -> EmailMessage:
    alert = Alert(SENTENCE, Phase.RUNNING, 1_795_000_000.0, "<id@vm>", comment=".")
    return letter([alert], destination, HOST)


async def to_server(monkeypatch, **answers: object):
    async with smtp_server({name.replace("DOT", "."): text for name, text in answers.items()}) as (
        port,
        heard,
    ):
        monkeypatch.setattr(smtp, "SMTP_PORT", port)
        await carry(message(), OPS, HOST)
        return heard


def test_it_is_delivered_to_this_recipient_only(monkeypatch):
    heard = asyncio.run(to_server(monkeypatch))
    assert heard.commands == [
        "EHLO vm",
        "MAIL FROM:<root@vm>",
        "RCPT TO:<ops@x.org>",
        "DATA",
        "QUIT",
    ]
    assert heard.mails == [message().as_bytes().decode()]
    assert f"\r\nSubject: {SENTENCE}\r\n" in heard.mails[0]  # not folded


REFUSALS = [
    ({"RCPT": "550 no such user here"}, "550 no such user here"),
    ({"MAIL": "553 sender\x1b[2J unknown"}, "553 sender?[2J unknown"),
    ({"DATA": "554 no"}, "554 no"),
    ({"DOT": "550 spam"}, "550 spam"),
]


@pytest.mark.parametrize(("answers", "reason"), REFUSALS)
def test_a_refusal_is_final(answers, reason, monkeypatch):
    with pytest.raises(Refused) as raised:
        asyncio.run(to_server(monkeypatch, **answers))
    assert str(raised.value) == reason


DELAYS = [
    ({"": "421 too busy"}, "421 too busy"),
    ({"": "554 not today"}, "554 not today"),
    ({"RCPT": "450 greylisted"}, "450 greylisted"),
    ({"DOT": "451 disk full"}, "451 disk full"),
    ({"MAIL": LEAVE}, ""),
    ({"": LEAVE}, ""),
    ({"": "nonsense"}, ""),
    ({"": HANG}, "no answer in time"),
    ({"RCPT": HANG}, "no answer in time"),
    ({"DOT": HANG}, "no answer in time"),
]


@pytest.mark.parametrize(("answers", "reason"), DELAYS)
def test_whatever_else_happens_it_is_tried_again(answers, reason, monkeypatch):
    monkeypatch.setattr(smtp, "ANSWER_S", 0.3)
    with pytest.raises(NotNow) as raised:
        asyncio.run(to_server(monkeypatch, **answers))
    assert reason in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_server_that_is_slow_all_the_time_is_left(monkeypatch):
    monkeypatch.setattr(smtp, "SESSION_S", 0.3)
    with pytest.raises(NotNow, match="no answer in time"):
        asyncio.run(to_server(monkeypatch, EHLO=HANG))


def test_a_mail_that_was_taken_is_taken_though_the_goodbye_fails(monkeypatch):
    monkeypatch.setattr(smtp, "ANSWER_S", 0.3)
    for goodbye in (LEAVE, HANG, "500 what"):
        assert len(asyncio.run(to_server(monkeypatch, QUIT=goodbye)).mails) == 1


def test_a_closed_port_and_a_name_that_is_none(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setattr(smtp, "SMTP_PORT", closed.getsockname()[1])
    with pytest.raises(NotNow, match="connection refused"):
        asyncio.run(carry(message(), OPS, HOST))

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(NotNow, match=r"mx\.nowhere: name or service not known"):
        asyncio.run(carry(message(), Destination(("a",), ("a",), "", "mx.nowhere"), HOST))


def test_its_other_address_is_tried(monkeypatch):
    async def story() -> None:
        async with smtp_server() as (port, heard):
            found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
            dead = (*found[0][:4], ("127.0.0.1", 1))
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead, *found])
            await carry(message(), OPS, HOST)
            assert len(heard.mails) == 1

    asyncio.run(story())


@pytest.fixture
def sendmail(tmp_path, monkeypatch):
    """A program in sendmail's place: what it does is written by the test."""
    program = tmp_path / "sendmail"

    def does(script: str) -> Path:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return tmp_path

    monkeypatch.setattr(local, "SENDMAILS", ("/nowhere/sendmail", str(program)))
    return does


def test_without_smtp_the_local_sendmail_gets_it(sendmail, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "planted")
    room = sendmail('cat > "${0%/*}/mail"; echo "$@" > "${0%/*}/args"; env > "${0%/*}/env"')
    asyncio.run(carry(message(LOCAL), LOCAL, HOST))
    assert (room / "args").read_text() == "-t -i\n"
    mail = (room / "mail").read_bytes()
    assert b"\r" not in mail
    assert mail.startswith(b"To: ops@x.org, root\nSubject: " + SENTENCE.encode())
    assert "planted" not in (room / "env").read_text()


def test_a_sendmail_that_fails_is_tried_again_and_quoted(sendmail):
    sendmail("echo 'no queue\033[2J' >&2; exit 75")
    with pytest.raises(NotNow, match=r"sendmail exited with status 75: no queue\?\[2J$"):
        asyncio.run(carry(message(LOCAL), LOCAL, HOST))


def test_a_sendmail_that_hangs_is_ended(sendmail, monkeypatch):
    monkeypatch.setattr(local, "LIMIT_S", 0.2)
    sendmail("exec sleep 100")
    with pytest.raises(NotNow, match="took too long and was ended"):
        asyncio.run(carry(message(LOCAL), LOCAL, HOST))


def test_without_any_sendmail_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(local, "SENDMAILS", ("/nowhere/sendmail",))
    with pytest.raises(Refused, match="apt install msmtp-mta"):
        asyncio.run(carry(message(LOCAL), LOCAL, HOST))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onevip.daemon.mail.smtp", None)
    with pytest.raises(Refused, match="apt install python3-aiosmtplib"):
        asyncio.run(carry(message(), OPS, HOST))
