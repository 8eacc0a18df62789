"""What `onevip real` and `onevip director` share: arguments; start, stop and status of VIPs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import NoReturn

from onevip.command.environment import Environment
from onevip.host import boot, roles
from onevip.host.keeping import Keeper, file_of_namespace, locked
from onevip.host.roles import Role, Settings
from onevip.host.settings import Decapsulator, kinds
from onevip.model import ForwardingMethod, UsageError

INCOMPLETE = 3

_METHODS = {
    "gate": ForwardingMethod.GATE,
    "ipip": ForwardingMethod.IPIP,
    "masq": ForwardingMethod.MASQ,
}


@dataclass(frozen=True, slots=True)
class HostCommand:
    """`onevip real` or `onevip director`."""

    name: str
    summary: str
    settings: Settings
    decapsulator: Decapsulator
    default_interface: str | None

    @property
    def is_director(self) -> bool:
        return self.name == "director"

    def run(self, argv: list[str], env: Environment) -> int:
        """The whole command. Raises UsageError and HostError."""
        wanted = _parser(self).parse_args(argv)
        steps: dict[str, Callable[[argparse.Namespace, Keeper, Environment], int]] = {
            "start": self._start,
            "stop": self._stop,
            "status": self._status,
        }
        file = file_of_namespace(env.state_directory)
        if wanted.step == "status":
            return self._status(wanted, Keeper(file, kinds(self.decapsulator)), env)
        with locked(file):
            keeper = Keeper(file, kinds(self.decapsulator))
            return steps[wanted.step](wanted, keeper, env)

    def _start(self, wanted: argparse.Namespace, keeper: Keeper, env: Environment) -> int:
        if not wanted.vip:
            raise UsageError(f"{self.name} start needs --vip: see onevip {self.name} --help")
        for vip in wanted.vip:
            role = self._role(vip, wanted, {})
            _say(env, vip, roles.start(role, self.settings, keeper), "everything is set up")
            if wanted.boot:
                method = f" --method {role.method.name.lower()}"
                arguments = f"--vip {vip}{method} --dev {role.interface}"
                done = boot.enable(env.unit_directory, self.name, str(vip), _program(), arguments)
                print(f"{vip}: {done}", file=env.stdout)
        return 0

    def _stop(self, wanted: argparse.Namespace, keeper: Keeper, env: Environment) -> int:
        vips = wanted.vip or self._known(keeper)
        if not vips:
            print(f"no VIP is set up here by onevip {self.name}", file=env.stdout)
        for vip in vips:
            user = f"{self.name} {vip}"
            _say(env, vip, roles.stop(user, keeper), "nothing to put back")
            if wanted.boot:
                done = boot.disable(env.unit_directory, self.name, str(vip))
                print(f"{vip}: {done}", file=env.stdout)
        return 0

    def _status(self, wanted: argparse.Namespace, keeper: Keeper, env: Environment) -> int:
        vips = wanted.vip or self._known(keeper)
        if not vips:
            print(f"no VIP is set up here by onevip {self.name}", file=env.stdout)
            return INCOMPLETE
        is_complete = True
        for vip in vips:
            role = self._role(vip, wanted, keeper.users.get(f"{self.name} {vip}", {}))
            print(
                f"{vip}: {self.name}, {role.method.name.lower()}, {role.interface}",
                file=env.stdout,
            )
            for is_met, words in roles.status(role, self.settings):
                print(f"  {'ok     ' if is_met else 'missing'}  {words}", file=env.stdout)
                is_complete = is_complete and is_met
            for words in roles.advice(role):
                print(f"  note     {words}", file=env.stdout)
        return 0 if is_complete else INCOMPLETE

    def _known(self, keeper: Keeper) -> list[IPv4Address]:
        return [
            IPv4Address(user.removeprefix(f"{self.name} "))
            for user in keeper.users
            if user.startswith(f"{self.name} ")
        ]

    def _role(self, vip: IPv4Address, wanted: argparse.Namespace, kept: dict[str, str]) -> Role:
        """What is asked for; what is not said is as it was set up, or the default."""
        interface = wanted.dev or kept.get("interface") or self.default_interface
        if interface is None:
            raise UsageError(
                f"{self.name} {wanted.step} needs --dev: see onevip {self.name} --help"
            )
        method = _METHODS[wanted.method or kept.get("method") or "gate"]
        return Role(vip, method, interface, self.is_director)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}: see {self.prog} --help")


def _parser(command: HostCommand) -> _Parser:
    parser = _Parser(prog=f"onevip {command.name}", description=command.summary)
    parser.add_argument(
        "step",
        choices=("start", "stop", "status"),
        help="set it up, put back what was there before, or show what is missing",
    )
    parser.add_argument(
        "--vip",
        action="append",
        type=_vip,
        metavar="VIP",
        help="the virtual IP; may be given again; for stop and status default: all started ones",
    )
    parser.add_argument(
        "--method",
        choices=tuple(_METHODS),
        help="how packets are forwarded to the real server (default: gate)",
    )
    default = f" (default: {command.default_interface})" if command.default_interface else ""
    parser.add_argument("--dev", metavar="DEV", help=f"the VIP's interface{default}")
    parser.add_argument(
        "--boot",
        action="store_true",
        help="with start, write a systemd unit that does it at boot; with stop, remove it",
    )
    return parser


def _vip(text: str) -> IPv4Address:
    try:
        vip = IPv4Address(text)
    except AddressValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IPv4 address") from None
    if vip.is_multicast or vip.is_loopback or vip.is_unspecified or vip == IPv4Address(2**32 - 1):
        raise argparse.ArgumentTypeError(f"{text} cannot be a virtual IP")
    return vip


def _say(env: Environment, vip: IPv4Address, changes: Iterable[str], otherwise: str) -> None:
    silent = True
    for line in changes:
        silent = False
        print(f"{vip}: {line}", file=env.stdout, flush=True)
    if silent:
        print(f"{vip}: {otherwise}", file=env.stdout)


def _program() -> str:
    """How systemd starts this very program."""
    program = Path(sys.argv[0])
    if program.name == "onevip":
        return str(program.resolve())
    return f"{sys.executable} -m onevip"
