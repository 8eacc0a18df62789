"""`onevip attach` and `onevip detach`: the doors of the data plane, shown, opened and closed."""

# ruff: noqa: PLC0415 - libbpf and the netlink library are loaded when they are needed.

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from onevip.command.environment import Environment
from onevip.model import UsageError

if TYPE_CHECKING:
    from onevip.engines.bpf import BpfEngine


def _engine() -> BpfEngine:
    from onevip.engines.bpf import BpfEngine

    return BpfEngine()


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Open doors, or show them; the exit status. Raises OnevipError."""
    environment = environment or Environment()
    parser = argparse.ArgumentParser(
        prog="onevip attach",
        description="Attach the data plane to an interface, or to every one. The first service"
        " attaches the tc door everywhere by itself; xdp is asked for by name.",
    )
    parser.add_argument("interface", nargs="?", help="default: every interface")
    parser.add_argument(
        "--door",
        choices=("tc", "xdp"),
        default="tc",
        help="where packets enter (default: tc); xdp is in the network card's driver",
    )
    parser.add_argument("--show", action="store_true", help="show interfaces and doors, and why")
    arguments = parser.parse_args(argv)
    if arguments.show:
        if arguments.interface is not None:
            raise UsageError("attach --show shows every interface: leave the name out")
        _show(environment)
        return 0
    for line in _engine().attach(arguments.interface, arguments.door):
        print(line, file=environment.stdout)
    return 0


def _show(environment: Environment) -> None:
    from onevip.host import surroundings

    engine = _engine()
    shown = engine.doors()
    if not shown:
        print("nothing is attached: no service has been added here yet", file=environment.stdout)
        return
    print(f"{'Interface':<16} {'Door':<8} Why", file=environment.stdout)
    for door in shown:
        doors = ",".join(door.doors) or "-"
        print(f"{door.interface.name:<16} {doors:<8} {door.why}", file=environment.stdout)
    print(file=environment.stdout)
    counters = engine.door_counters()
    print(f"{'Packets':<16} {'tc':>12} {'xdp':>12}", file=environment.stdout)
    for name, tc in counters["tc"].items():
        xdp = counters["xdp"][name]
        if tc or xdp:
            print(f"{name.replace('_', ' '):<16} {tc:>12} {xdp:>12}", file=environment.stdout)
    for warning in surroundings.look(engine.read()):
        print(f"warning: {warning}", file=environment.stdout)


def detach_main(argv: list[str], environment: Environment | None = None) -> int:
    """Close doors; the exit status. Raises OnevipError."""
    environment = environment or Environment()
    parser = argparse.ArgumentParser(
        prog="onevip detach",
        description="Detach the data plane from an interface, or from every one. The table and"
        " its connections stay, and the daemon leaves a detached interface alone.",
    )
    parser.add_argument("interface", nargs="?", help="default: every interface")
    parser.add_argument(
        "--door", choices=("tc", "xdp"), default="tc", help="xdp: only that one; default: both"
    )
    parser.add_argument(
        "--unload", action="store_true", help="forget the table and every connection as well"
    )
    arguments = parser.parse_args(argv)
    if arguments.unload:
        if arguments.interface is not None:
            raise UsageError("detach --unload unloads everything: leave the interface out")
        _engine().unload()
    else:
        _engine().detach(arguments.interface, arguments.door)
    return 0
