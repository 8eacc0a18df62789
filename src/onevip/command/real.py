"""`onevip real start|stop|status`: this host as a real server of a VIP, and back."""

# ruff: noqa: PLC0415 - only ipip needs the data plane.

from __future__ import annotations

import functools
from ipaddress import IPv4Address

from onevip.command.environment import Environment
from onevip.command.host_setup import HostCommand
from onevip.host import roles


class BpfDecapsulator:
    """Takes the outer header off by the data plane's own small program."""

    def add(self, vip: IPv4Address) -> None:
        from onevip.engines.bpf import decapsulation

        decapsulation.add(vip)

    def remove(self, vip: IPv4Address) -> None:
        from onevip.engines.bpf import decapsulation

        decapsulation.remove(vip)

    def vips(self) -> set[IPv4Address]:
        from onevip.engines.bpf import decapsulation

        return decapsulation.vips()


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Run one `onevip real` command line; 3 when `status` finds something missing."""
    decapsulator = BpfDecapsulator()
    command = HostCommand(
        "real",
        "Set this host up as a real server, and put it back as it was.",
        functools.partial(roles.real_server_settings, decapsulator=decapsulator),
        decapsulator,
        default_interface="lo",
    )
    return command.run(argv, environment or Environment())
