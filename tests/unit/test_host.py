"""What was there is kept and put back; frames, units and firewalls. No privilege, no network."""

from __future__ import annotations

import errno
import io
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onevip import namespace
from onevip.command import director, real
from onevip.command.environment import Environment
from onevip.host import arp, boot, firewall, keeping, sysctl
from onevip.host.keeping import Keeper
from onevip.model import HostError, UsageError

VIP = IPv4Address("192.0.2.1")


class Killed(BaseException):
    """The process ends here."""


HOST: dict[str, int] = {}


@dataclass(frozen=True)
class Knob:
    """A setting of an imaginary host; wants `value`. `fails` kills instead of setting."""

    kind = "knob"
    name: str
    value: int
    fails: bool = False

    def arguments(self):
        return {"name": self.name, "value": self.value}

    def now(self):
        return HOST.get(self.name)

    def is_met(self, now):
        return now == self.value

    def wanted(self, now):
        return self.value

    def make(self, value):
        if self.fails:
            raise Killed
        HOST[self.name] = value

    def is_as_made(self, now, made):
        return now == made

    def in_words(self, value):
        return f"{self.name} = {value}"


@pytest.fixture
def keeper(tmp_path):
    """Opens the kept state as a new process does."""
    HOST.clear()
    HOST.update(a=0, b=0)
    return lambda: Keeper(tmp_path / "host.json", {"knob": Knob})


def test_a_setting_is_made_and_put_back(keeper):
    assert keeper().acquire("one", Knob("a", 1)) == "a = 1"
    assert HOST["a"] == 1
    assert list(keeper().release("one")) == ["put back: a = 0"]
    assert HOST == {"a": 0, "b": 0}


def test_what_is_as_wanted_already_is_left_alone(keeper):
    HOST["a"] = 1
    assert keeper().acquire("one", Knob("a", 1)) is None
    assert list(keeper().release("one")) == []
    assert HOST["a"] == 1


def test_a_second_start_does_not_overwrite_what_was_there(keeper):
    keeper().acquire("one", Knob("a", 1))
    HOST["a"] = 5  # somebody else, in between
    assert keeper().acquire("one", Knob("a", 1)) == "a = 1"
    list(keeper().release("one"))
    assert HOST["a"] == 0


def test_shared_settings_go_with_the_last_user(keeper):
    keeper().acquire("one", Knob("a", 1))
    keeper().acquire("two", Knob("a", 1))
    assert list(keeper().release("one")) == []
    assert HOST["a"] == 1
    assert list(keeper().release("two")) == ["put back: a = 0"]


def test_what_somebody_else_changed_is_left_and_said(keeper):
    keeper().acquire("one", Knob("a", 1))
    HOST["a"] = 7
    said = list(keeper().release("one"))
    assert said == ["left as it is, somebody has changed it since: a = 7"]
    assert HOST["a"] == 7


def test_a_start_that_was_killed_is_undone_by_stop(keeper):
    keeper().acquire("one", Knob("a", 1))
    with pytest.raises(Killed):
        keeper().acquire("one", Knob("b", 1, fails=True))
    assert list(keeper().release("one")) == ["put back: a = 0"]
    assert HOST == {"a": 0, "b": 0}


def test_a_start_that_was_killed_is_finished_by_the_next(keeper):
    with pytest.raises(Killed):
        keeper().acquire("one", Knob("a", 1, fails=True))
    assert keeper().acquire("one", Knob("a", 1)) == "a = 1"
    list(keeper().release("one"))
    assert HOST["a"] == 0


def test_what_is_kept_is_written_before_the_change(keeper, tmp_path):
    with pytest.raises(Killed):
        keeper().acquire("one", Knob("a", 1, fails=True))
    (item,) = json.loads((tmp_path / "host.json").read_text())["settings"].values()
    assert item["before"] == 0


def test_only_what_the_next_start_wants_stays(keeper):
    keeper().acquire("one", Knob("a", 1))
    keeper().acquire("one", Knob("b", 1))
    kept = keeping.names([Knob("b", 1)])
    assert list(keeper().release("one", but=kept)) == ["put back: a = 0"]
    assert HOST == {"a": 0, "b": 1}


def test_what_is_gone_needs_no_putting_back(keeper):
    keeper().acquire("one", Knob("a", 1))
    del HOST["a"]
    assert list(keeper().release("one")) == []


def test_the_file_goes_with_the_last_user(keeper, tmp_path):
    opened = keeper()
    opened.remember("one", {"method": "gate"})
    assert keeper().users == {"one": {"method": "gate"}}
    opened.forget("one")
    assert not (tmp_path / "host.json").exists()


def test_each_namespace_has_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(namespace, "identity", lambda: "4026531840-1")
    assert keeping.file_of_namespace(str(tmp_path)) == tmp_path / "4026531840-1" / "host.json"


def test_a_damaged_file_is_named(keeper, tmp_path):
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(HostError, match=r"host\.json is damaged .*: remove it"):
        keeper()


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"settings": 1}'])
def test_a_file_of_another_shape_is_damaged_too(keeper, tmp_path, text):
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(HostError, match=r"host\.json is damaged .* remove it"):
        keeper()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "cannot write {}: no space left on device"),
        (errno.EACCES, "cannot write {}: permission denied: run as root"),
    ],
)
def test_nothing_is_changed_when_nothing_can_be_kept(keeper, tmp_path, monkeypatch, number, said):
    def refused(*_: object) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(HostError) as raised:
        keeper().acquire("one", Knob("a", 1))
    assert str(raised.value) == said.format(tmp_path / "host.json")
    assert HOST == {"a": 0, "b": 0}


def test_an_announcement_is_an_arp_request_for_itself():
    assert arp.frame(VIP, "02:00:00:00:00:0a") == bytes.fromhex(
        "ffffffffffff 02000000000a 0806"
        "0001 0800 06 04 0001"
        "02000000000a c0000201"
        "000000000000 c0000201"
    )


@pytest.mark.parametrize("mac", ["", "00:00:00:00:00:00", "0a:00:00:01"])
def test_without_a_mac_there_is_nobody_to_tell(mac):
    assert not arp.can_announce(mac)


def test_a_dot_in_an_interfaces_name_is_a_slash_for_sysctl():
    assert sysctl.dotted(sysctl.of_interface("eth0.5", "rp_filter")) == (
        "net.ipv4.conf.eth0/5.rp_filter"
    )


def test_boot_writes_and_enables_a_unit_and_removes_both(tmp_path):
    unit = tmp_path / "onevip-real-192.0.2.1.service"
    arguments = "--vip 192.0.2.1 --method gate --dev lo"
    said = boot.enable(str(tmp_path), "real", str(VIP), "/usr/bin/onevip", arguments)
    assert said == f"wrote {unit} and enabled it for the next boot"
    assert f"ExecStart=/usr/bin/onevip real start {arguments}\n" in unit.read_text()
    assert "ExecStop=/usr/bin/onevip real stop --vip 192.0.2.1\n" in unit.read_text()
    assert (tmp_path / "multi-user.target.wants" / unit.name).resolve() == unit
    assert boot.disable(str(tmp_path), "real", str(VIP)) == f"removed {unit}"
    assert [path.name for path in tmp_path.iterdir()] == ["multi-user.target.wants"]
    assert boot.disable(str(tmp_path), "real", str(VIP)) == f"there was no {unit}"


def test_boot_needs_systemd(tmp_path):
    with pytest.raises(HostError, match="--boot needs systemd"):
        boot.enable(str(tmp_path / "none"), "real", str(VIP), "onevip", "")


def nft_chain(hook: str, policy: str = "accept") -> dict[str, object]:
    chain = {"family": "inet", "table": "filter", "name": "c", "hook": hook, "policy": policy}
    return {"chain": chain}


def nft_rule(*expressions: object) -> dict[str, object]:
    return {"rule": {"family": "inet", "table": "filter", "chain": "c", "expr": expressions}}


def daddr(right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": "daddr"}},
                      "right": right}}  # fmt: skip


ON_LO = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}
DROP = {"drop": None}
OURS = {"family": "ip", "table": "onevip_marks", "name": "prerouting", "hook": "prerouting"}


@pytest.mark.parametrize(
    ("ruleset", "found"),
    [
        ([nft_chain("input")], []),
        ([nft_chain("input"), nft_rule(DROP)], ["1 rule"]),
        ([nft_chain("prerouting"), nft_rule(DROP), nft_rule(DROP)], ["2 rules"]),
        ([nft_chain("forward", "drop")], ["no rule, policy drop"]),
        ([nft_chain("output", "drop"), nft_rule(DROP)], []),
        ([nft_chain("input"), nft_rule(daddr("192.0.2.1"), DROP)], ["1 rule"]),
        ([nft_chain("input"), nft_rule(daddr("192.0.2.2"), DROP)], []),
        ([nft_chain("input"), nft_rule(daddr("192.0.2.2", "!="), DROP)], ["1 rule"]),
        (
            [
                nft_chain("input"),
                nft_rule(daddr({"set": ["9.9.9.9", {"prefix": {"addr": "192.0.2.0", "len": 24}}]})),
            ],
            ["1 rule"],
        ),
        ([nft_chain("input"), nft_rule(daddr({"set": ["9.9.9.9"]}))], []),
        ([nft_chain("input"), nft_rule(daddr("@named"))], ["1 rule"]),
        ([nft_chain("input"), nft_rule(ON_LO, DROP)], []),
        ([{"chain": OURS}, {"rule": {**OURS, "chain": "prerouting", "expr": [DROP]}}], []),
    ],
)
def test_chains_that_could_match_a_vip_are_named(ruleset, found):
    chains = [f"nftables chain inet filter c ({number})" for number in found]
    assert list(firewall.nftables_chains(ruleset, [VIP])) == chains


def test_a_warning_is_one_line(monkeypatch):
    ruleset = [nft_chain("input"), nft_rule(DROP)]
    monkeypatch.setattr(firewall, "_ruleset", lambda: ruleset)
    monkeypatch.setattr(firewall, "_legacy_tables", lambda: iter(["iptables"]))
    (line,) = firewall.warnings([VIP])
    assert line == (
        "packets for 192.0.2.1 do not pass nftables chain inet filter c (1 rule), iptables:"
        " onevip takes them as they come in, before netfilter"
    )
    assert firewall.warnings([]) == []


@pytest.mark.parametrize(
    ("command", "argv", "said"),
    [
        (real.main, ["start"], "real start needs --vip: see onevip real --help"),
        (real.main, ["start", "--vip", "300.1.1.1"], "'300.1.1.1' is no IPv4 address"),
        (real.main, ["start", "--vip", "224.0.0.1"], "224.0.0.1 cannot be a virtual IP"),
        (real.main, ["begin"], "invalid choice: 'begin'"),
        (
            director.main,
            ["start", "--vip", "192.0.2.1"],
            "director start needs --dev: see onevip director --help",
        ),
    ],
)
def test_a_command_line_that_makes_no_sense(tmp_path, command, argv, said):
    with pytest.raises(UsageError, match=said):
        command(argv, Environment(state_directory=str(tmp_path)))


@pytest.mark.parametrize("command", [real, director])
def test_stop_without_start_says_that_there_is_nothing(tmp_path, command):
    name = command.__name__.rpartition(".")[2]
    said = io.StringIO()
    assert command.main(["stop"], Environment(stdout=said, state_directory=str(tmp_path))) == 0
    assert said.getvalue() == f"no VIP is set up here by onevip {name}\n"


def test_nothing_can_be_kept_without_a_place(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(HostError, match="run as root"), keeping.locked(tmp_path / "x" / "y"):
        pass
