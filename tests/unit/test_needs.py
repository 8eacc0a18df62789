"""What a configuration needs and a machine lacks, with what to do about it."""

from __future__ import annotations

import pytest

from onevip.config import World, parse
from onevip.config.needs import Machine, missing

SECTION = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n\treal=10.0.0.3:80 gate\n"
NOTHING = Machine(which=lambda _: None, can_read=lambda _: False, has_module=lambda _: False)
EVERYTHING = Machine(which=str, can_read=lambda _: True, has_module=lambda _: True)
NO_PROGRAM = (
    "checkcommand /bin/check cannot be run: is it there, and executable? All of it is the "
    "program's name, without arguments"
)
NO_SENDMAIL = (
    "emailalert needs /usr/sbin/sendmail or a server in smtp=: apt install msmtp-mta (or another "
    "mail-transport-agent)"
)
WORLD = World(why_not_appendable=lambda _: "")


def lacking(text: str, machine: Machine = NOTHING) -> list[str]:
    return missing(parse(text, "lb.cf", WORLD), machine)


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        ("\tchecktype=connect\n", []),
        ("\tservice=http\n", ["service=http needs the Python module h11: apt install python3-h11"]),
        (
            "\tservice=dns\n",
            ["service=dns needs the Python module dns: apt install python3-dnspython"],
        ),
        (
            "\tchecktype=external\n\tcheckcommand=/bin/check\n",
            [NO_PROGRAM],
        ),
        (
            "\tchecktype=external-perl\n\tcheckcommand=/bin/check.pl\n",
            [
                "checktype=external-perl needs perl: apt install perl",
                "checkcommand /bin/check.pl cannot be read: its servers are down",
            ],
        ),
        (
            '\tservice=imaps\n\ttlscafile="/ca.pem"\n',
            ["tlscafile /ca.pem cannot be read: checks that need it fail"],
        ),
        ('\tservice=imaps\n\ttlscafile="/ca.pem"\n\ttlsverify=none\n', []),
        (
            "\tservice=none\n\temailalert=a@b.test\n",
            [NO_SENDMAIL],
        ),
        (
            "\tservice=none\n\temailalert=a@b.test\n\tsmtp=mail.test\n",
            ["emailalert needs the Python module aiosmtplib: apt install python3-aiosmtplib"],
        ),
        (
            '\tservice=none\n\tfallbackcommand="/bin/page web"\n',
            ["fallbackcommand /bin/page cannot be run: is it there, and executable?"],
        ),
        ("\tservice=none\n\tfallbackcommand=echo web\n", []),
    ],
)
def test_what_is_missing_is_said_once_with_what_installs_it(lines, sentences):
    assert lacking(SECTION + lines) == sentences
    assert lacking(SECTION + lines, EVERYTHING) == []


def test_a_callback_is_looked_for():
    text = 'callback="/bin/sync"\n'
    assert lacking(text) == ["callback /bin/sync cannot be run: is it there, and executable?"]
    assert lacking(text, EVERYTHING) == []


def test_ipv6_is_accepted_but_not_silently():
    text = "virtual6=[2001:db8::1]:80\n    real6=[2001:db8::2]:80 masq\n    checktype=connect\n"
    (sentence,) = lacking(text, EVERYTHING)
    assert sentence.startswith("tcp [2001:db8::1]:80: no engine forwards IPv6 yet")


def test_this_machine_has_what_its_tests_need():
    assert missing(parse(SECTION, "lb.cf", WORLD)) == []
