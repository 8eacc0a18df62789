"""A file is read to its end: every error with its place, ldirectord's first one first."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onevip.config import Reading, World, as_ldirectord, load, parse, read
from onevip.model import ConfigError, MailAlert, Phase, RealServer

NOBODY = World(
    resolve=lambda host, version: (
        IPv4Address(host) if version == 4 and host.replace(".", "").isdecimal() else None
    ),
    why_not_appendable=lambda path: "Permission denied" if "forbidden" in path else "",
    is_directory=lambda path: path == "/etc/maintenance",
    own_name=lambda: "lb1",
)
BARE = "please update your config not to use a bare supervised directive"
DEPRECATED = (
    "checkcount option is deprecated and slated for removal.  please see 'failurecount'"  # sic
)
BROKEN = """\
quiescent=maybe
virtual=10.0.0.1:80
\treal=10.0.0.2:80 gaet
\tscheduler=wrl
\tschedular=rr
\tcheckport=99999 # too big

virtual=www.nowhere.test:80
    real=10.0.0.2:80 gate 1
    passwd=hunter2
    netmask=24
"""


def reading(text: str) -> Reading:
    return read(text, "lb.cf", NOBODY)


def test_all_errors_are_found_at_once_with_their_places():
    found = reading(BROKEN)
    assert found.configuration is None
    assert sorted((one.line, one.column, one.text) for one in found.errors) == [
        (1, 11, "maybe"),
        (3, 19, "gaet"),
        (4, 12, "wrl"),
        (5, 2, "schedular=rr"),
        (6, 12, "99999"),
        (8, 9, "www.nowhere.test"),
        (10, 5, "passwd=***"),
        (11, 13, "24"),
    ]
    hints = {one.line: one.hint for one in found.errors}
    assert hints[3] == 'did you mean "gate"?'
    assert hints[4] == 'did you mean "wrr"?'
    assert hints[5] == 'did you mean "scheduler"?'


def test_the_first_error_is_ldirectords_even_after_one_of_ours():
    text = "virtual=10.0.0.1:80\n\tscheduler=wrl\n\treal=10.0.0.2:80 nat\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "lb.cf", NOBODY)
    assert (caught.value.line, caught.value.ours) == (3, False)
    assert [one.ours for one in reading(text).errors] == [False, True]


def test_lines_come_before_names_as_in_ldirectord():
    """Real servers are looked up when their section ends."""
    text = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 nat\n\tcheckport=0\n"
    assert [error.line for error in reading(text).errors] == [3, 2]


def test_ldirectord_says_its_warnings_and_its_first_error_and_nothing_more():
    text = "supervised\ncheckcount=3\nfork=maybe\ncheckcount=4\nquiescent=maybe\n"
    assert reading(text).as_ldirectord(12) == [
        f"Warning [12] reading file lb.cf at line 1: {BARE}",
        f"Warning [12] reading file lb.cf at line 2: {DEPRECATED}",
        "Error [12] reading file lb.cf at line 3: fork must be 'yes' or 'no'",
    ]


def test_a_warning_of_a_whole_section_has_no_place_in_ldirectords_words():
    text = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n\tcheckinterval=2\n"
    assert reading(text).as_ldirectord(12) == [
        "Warning [12]: checkinterval in virtual service tcp:10.0.0.1:80 ignored when fork=no"
    ]


def test_ldirectord_says_what_only_we_refuse_last():
    text = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n\tscheduler=wrl\n\tcheckcount=2\n"
    assert reading(text).as_ldirectord(12)[1:] == [
        'Error [12] reading file lb.cf at line 3: unknown scheduler "wrl"'
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense\n", "Error [7] reading file lb.cf at line 1: Unknown command nonsense\n "),
        ("nonsense", "Error [7] reading file lb.cf at line 1: Unknown command nonsense "),
        (
            "virtual=10.0.0.1:80\n    nonsense\n",
            'Error [7] reading file lb.cf at line 2: Unknown command "    nonsense\n"',
        ),
        (
            "virtual=10.0.0.1:80\n    nonsense",
            'Error [7] reading file lb.cf at line 2: Unknown command "    nonsense"',
        ),
    ],
)
def test_an_unknown_line_is_printed_with_its_own_end(text, said):
    (error,) = reading(text).errors
    assert as_ldirectord(error, 7) == said
    assert "\n" not in str(error)


def test_an_error_of_the_whole_file_names_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.cf")
    assert as_ldirectord(caught.value, 7) == f"Error [7]: can not open file {tmp_path}/none.cf"
    ours = ConfigError("lb.cf", 0, "is no regular file")
    assert as_ldirectord(ours, 7) == "Error [7]: lb.cf is no regular file"


@pytest.mark.parametrize(
    "line",
    [
        "passwd=hunter2", 'passwrd="hunter2"', "secret = hunter2", "Passwd: hunter2",
        'password="hunter2"', "passwd hunter2", 'secert="hunter2"', 'passwd="hunter2',
    ],
)  # fmt: skip
@pytest.mark.parametrize("indentation", ["", "   ", "\t"])
def test_a_password_in_a_line_that_is_not_understood_is_never_shown(line, indentation):
    found = reading(f"virtual=10.0.0.1:80\n{indentation}{line}\n")
    shown = [str(found.errors), str(found.said), str(found.lines), *found.as_ldirectord(1)]
    shown += [f"{error} {error.text} {error.verbatim}" for error in found.errors]
    assert found.errors
    assert "hunter2" not in "".join(shown)


def test_a_password_that_is_understood_is_shown_neither():
    text = 'virtual=10.0.0.1:21\n\treal=10.0.0.2:21 masq\n\tpasswd="hunter2"\n\tsecret="hunter2"\n'
    found = reading(text)
    assert found.configuration
    assert "hunter2" not in f"{found.configuration} {found.lines}"
    (server,) = found.configuration.services[0].real_servers
    assert server.check.passwd.reveal() == "hunter2"


def test_an_empty_section_at_the_end_is_a_duplicate_of_itself():
    (error,) = reading("virtual=10.0.0.1:80\n").errors
    assert (error.line, error.message) == (1, "duplicate virtual server")
    assert "the section is empty" in error.hint
    assert reading("virtual=10.0.0.1:80\n# nothing yet\n").configuration


# What the global lines, and those of a section, mean.

WHOLE = """\
autoreload=yes
callback="/usr/bin/sync"
execute=other.cf
execute=another.cf
fork=yes
logfile="local0"
maintenancedir=/etc/maintenance
readdquiescent=yes
supervised=yes
emailalert="a@x.test, b@x.test"
emailalertfrom=lb@x.test
emailalertfreq=60
emailalertstatus=starting,stopping
smtp=mail.x.test
fallbackcommand="/bin/page" all
virtual=10.0.0.1:80
\treal=10.0.0.2:80 gate
\tmonitorfile="/var/log/web"
\tservicename=Web site
\tcomment=Ask Ann
\temailalert=web@x.test
\temailalertfreq=0
\tfallbackcommand="/bin/page web"
\tload="x"
virtual=10.0.0.1:81
\treal=10.0.0.2:80 masq
\temailalertstatus=none
"""


def test_everything_reaches_the_configuration():
    configuration = parse(WHOLE, "lb.cf", NOBODY)
    assert configuration.warnings == ()
    assert (configuration.callback, configuration.children) == (
        "/usr/bin/sync",
        ("other.cf", "another.cf"),
    )
    assert (configuration.fork, configuration.supervised) == (True, True)
    assert (configuration.log_file, configuration.maintenance_dir) == ("local0", "/etc/maintenance")
    assert configuration.readd_quiescent
    phases = frozenset({Phase.STARTING, Phase.STOPPING})
    to_all = MailAlert(("a@x.test", "b@x.test"), "lb@x.test", phases, 60, "mail.x.test")
    assert configuration.mail == to_all
    web, other = configuration.services
    assert (web.monitor_file, web.service_name, web.comment) == (
        "/var/log/web",
        "Web site",
        "Ask Ann",
    )
    assert web.mail == MailAlert(("web@x.test",), "lb@x.test", phases, 0, "mail.x.test")
    assert (web.fallback_command, other.fallback_command) == (
        "/bin/page web",
        '"/bin/page" all',
    )
    assert other.mail is not None
    assert other.mail.phases == frozenset()


def test_defaults_of_the_global_lines():
    configuration = parse("", "lb.cf", NOBODY)
    assert (configuration.log_file, configuration.mail, configuration.children) == (
        "/var/log/ldirectord.log",
        None,
        (),
    )
    switches = (configuration.supervised, configuration.fork, configuration.readd_quiescent)
    assert switches == (False, False, False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('logfile="/forbidden"', "unable to open logfile: /forbidden"),
        ("callback=/bin/x", "Unknown command callback=/bin/x"),
        ("maintenancedir=", "maintenance directory not specified"),
        ("emailalert=", "no email address specified"),
        ("emailalertfrom=", "no email from address specified"),
        ("emailalertfreq=often", "invalid email alert frequency"),
        ("smtp=;", "invalid SMTP server address"),
        ("fallbackcommand=", "invalid fallback command"),
        ("fallback6=10.0.0.1", "invalid IPv6 address or could not resolve for fallback server"),
        ("supervision", "supervised must be 'yes' or 'no'"),
        ("readdquiescent=on", "readdquiescent must be 'yes' or 'no'"),
        ("checkinterval=0", "invalid check interval value"),
        ("checkcount=0", "invalid check count value"),
    ],
)
def test_a_global_line_that_cannot_be_used_says_why(line, message):
    if line == "supervision":
        line = "supervised=perhaps"
    (error,) = reading(line).errors
    assert error.message.startswith(message)


def test_a_logfile_of_a_supervised_daemon_is_not_looked_at():
    assert reading('supervised=yes\nlogfile="/forbidden"').configuration
    assert reading('logfile="/forbidden"\nsupervised=yes').configuration is None


def test_a_monitor_file_must_be_writable_when_the_file_is_read():
    text = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n\tmonitorfile=/forbidden\n"
    (error,) = reading(text).errors
    assert error.message == "unable to open monitorfile /forbidden: Permission denied"


def test_looking_for_a_log_file_makes_none(tmp_path):
    (tmp_path / "lb.cf").write_text(f'logfile="{tmp_path}/new.log"\n')
    assert load(tmp_path / "lb.cf").log_file == f"{tmp_path}/new.log"
    assert not (tmp_path / "new.log").exists()
    (tmp_path / "lb.cf").write_text(f'logfile="{tmp_path}/none/new.log"\n')
    with pytest.raises(ConfigError, match="unable to open logfile"):
        load(tmp_path / "lb.cf")


# IPv6.

SIX = """\
fallback6=[2001:db8::f] masq
virtual6=[2001:db8::1]:80
    real6=[2001:db8::2]:80 masq 2
    persistent=60
    netmask=48
virtual6=7
    real6=[2001:db8::3] gate
virtual=7
    real=10.0.0.2 gate
"""


def test_services_of_ipv6_are_read_and_have_their_own_fallback():
    configuration = parse(SIX, "lb.cf", World(own_name=lambda: "lb1"))
    web, mark, four = configuration.services
    assert str(web.key) == "tcp [2001:db8::1]:80"
    assert str(web.options.netmask) == "ffff:ffff:ffff::"
    assert (web.id, mark.id, four.id) == ("tcp:[2001:db8::1]:80", "fwm6:7", "fwm:7")
    assert isinstance(web.fallback, RealServer)
    assert (str(web.fallback.key), four.fallback) == ("[2001:db8::f]:80", None)
    assert mark.fallback is not None
    assert mark.fallback.port == 0


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ("    real=10.0.0.2:80 gate", 2, 'cannot specify "real" here.  please use "real6" instead'),
        ("    fallback=127.0.0.1", 2, 'cannot specify "fallback" here.  please use "fallback6"'),
        ("    netmask=255.255.255.0", 2, "invalid netmask: a prefix length between 1 and 128 is"),
        ("    netmask=129", 2, "invalid netmask: a prefix length between 1 and 128 is required"),
        ("    real6=[::2]->[::3]:80 gate", 2, "Address range for IPv6 is not supported yet"),
        ("    real6=10.0.0.2:80 gate", 2, "invalid address (10.0.0.2) for real server (could not"),
    ],
)
def test_a_line_of_the_other_family_is_refused(lines, line, message):
    with pytest.raises(ConfigError) as caught:
        parse(f"virtual6=[2001:db8::1]:80\n{lines}\n", "lb.cf")
    assert caught.value.line == line
    assert caught.value.message.startswith(message)
