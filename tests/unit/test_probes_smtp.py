"""smtp and submission: what is said and what counts as up, word by word."""

from __future__ import annotations

import asyncio

import pytest

from onevip.model import Outcome
from scripted import Serve, found, serving

GREETING = "220 mx.example.test ESMTP"


def talking(*answers: str | None, end: bytes = b"\r\n") -> tuple[Serve, list[bytes]]:
    """A server that greets with the first answer and gives the others one by one; what it heard.

    None: no answer, for ever.
    """
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if answer is None:
                await asyncio.Event().wait()
            else:
                writer.write(answer.encode().replace(b"\n", end) + end)
            heard.append(await reader.readline())
        if not heard[-1].startswith(b"QUIT"):
            writer.write(b"221 bye\r\n")

    return serve, heard


def test_a_server_that_answers_ehlo_is_up_and_hears_quit():
    serve, heard = talking(GREETING, "250-mx\n250-SIZE 1000\n250 HELP")
    assert found("smtp", serving(serve)) == Outcome(True, "EHLO answered")
    assert heard == [b"EHLO localhost.localdomain\r\n", b"QUIT\r\n"]


def test_a_server_that_knows_only_helo_is_up():
    serve, heard = talking("220-welcome\n220 mx", "502 what?", "250 mx")
    assert found("submission", serving(serve)) == Outcome(True, "HELO answered")
    assert heard == [
        b"EHLO localhost.localdomain\r\n",
        b"HELO localhost.localdomain\r\n",
        b"QUIT\r\n",
    ]


@pytest.mark.parametrize("answer", ["250 ok", "250", "250-a\n250"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_ends_of_lines_and_texts_do_not_matter(answer, end):
    serve, _ = talking("220", answer, end=end)
    assert found("smtp", serving(serve)).healthy


def test_a_server_that_never_answers_quit_is_up():
    serve, heard = talking(GREETING, "250 mx", None)
    assert found("smtp", serving(serve), timeout_s=0.4) == Outcome(True, "EHLO answered")
    assert heard[-1] == b"QUIT\r\n"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["421 too busy"], 'the server greets with "421 too busy"'),
        (["554-no\n554 service"], 'the server greets with "554 service"'),
        (["354 strange"], 'the server greets with "354 strange"'),
        ([GREETING, "421 too busy"], 'EHLO is answered with "421 too busy"'),
        ([GREETING, "450 later"], 'EHLO is answered with "450 later"'),
        ([GREETING, "502 what?", "502 no"], 'HELO is answered with "502 no"'),
        (["hello"], 'not an SMTP reply: "hello"'),
        ([GREETING, "250-a\nb"], 'not an SMTP reply: "b"'),
        (["220 " + "a" * 70_000], "the server sends more than 65536 bytes"),
        (["220-a\n" * 20_000 + "220 a"], "the server sends more than 65536 bytes"),
        ([GREETING, None], "timed out after 0.3 s"),
    ],
)
def test_what_is_down_and_why(answers, reason):
    serve, _ = talking(*answers)
    timeout_s = 0.3 if "timed out" in reason else 5
    assert found("smtp", serving(serve), timeout_s) == Outcome(False, reason)
