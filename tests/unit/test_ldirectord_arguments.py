"""ldirectord's command line: options, words, and the search for the file."""

from __future__ import annotations

import pytest

from onevip.command.ldirectord.arguments import BadUsage, find, read


@pytest.mark.parametrize(
    ("line", "file", "name", "command"),
    [
        ("start", "ldirectord.cf", "ldirectord", "start"),
        ("www.cf status", "www.cf", "www.cf", "status"),
        ("/etc/ha.d/www.cf stop", "/etc/ha.d/www.cf", "www.cf", "stop"),
        ("conf/www reload more words", "conf/www", "www", "reload"),
        ("-- -d start", "-d", "-d", "start"),
        ("www.cf force-reload -d", "www.cf", "www.cf", "force-reload"),  # options come first
        ("- try-restart", "-", "-", "try-restart"),
        ("www/ restart", "www/", "", "restart"),
    ],
)
def test_one_word_is_the_command_two_are_file_and_command(line, file, name, command):
    given = read(line.split())
    assert (given.file, given.name, given.command, given.debug) == (file, name, command, False)


@pytest.mark.parametrize("option", ["-d", "--debug", "--DEBUG", "-dd"])
def test_debugging(option):
    given = read([option, "www.cf", "start"])
    assert given.debug
    assert given.words == ("www.cf", "start")


@pytest.mark.parametrize(
    ("line", "option"),
    [("-h", "help"), ("-?", "help"), ("--help x", "help"), ("-v", "version"), ("-dv", "version")],
)
def test_help_and_version_need_no_words(line, option):
    assert option in read(line.split()).options


@pytest.mark.parametrize(
    ("line", "complaints"),
    [
        ("", ()),
        ("frobnicate", ()),
        ("www.cf frobnicate", ()),
        ("-d", ()),
        ("stop start-up", ()),
        ("-x start", ("Unknown option: x",)),
        ("-dxy --frob start", ("Unknown option: x", "Unknown option: y", "Unknown option: frob")),
        ("-D start", ("Unknown option: D",)),
        ("--deb start", ("Unknown option: deb",)),  # no abbreviations
        ("--debug=1 start", ("Option debug does not take an argument",)),
    ],
)
def test_what_makes_no_sense(line, complaints):
    with pytest.raises(BadUsage) as raised:
        read(line.split())
    assert raised.value.complaints == complaints


def test_a_file_is_looked_for_in_the_directories_first(tmp_path, monkeypatch):
    first, second, here = (tmp_path / name for name in ("first", "second", "here"))
    for directory in (first, second, here):
        directory.mkdir()
    (first / "both.cf").touch()
    (second / "both.cf").touch()
    (second / "second.cf").touch()
    (first / "directory.cf").mkdir()
    (here / "here.cf").touch()
    (here / "directory.cf").touch()
    monkeypatch.chdir(here)

    def found(file: str) -> str | None:
        return find(file, (str(first), str(second)))

    assert found("both.cf") == f"{first}/both.cf"
    assert found("second.cf") == f"{second}/second.cf"
    assert found("here.cf") == "here.cf"
    assert found("directory.cf") == "directory.cf"
    assert found(str(here / "here.cf")) == str(here / "here.cf")
    assert found("nowhere.cf") is None
