"""`onevip director start|stop|status`: the VIP on this host's interface, and back."""

from __future__ import annotations

from onevip.command.environment import Environment
from onevip.command.host_setup import HostCommand
from onevip.command.real import BpfDecapsulator
from onevip.host import roles


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Run one `onevip director` command line; 3 when `status` finds something missing."""
    command = HostCommand(
        "director",
        "Put a VIP on this host's interface, and take it off again.",
        roles.director_settings,
        BpfDecapsulator(),
        default_interface=None,
    )
    return command.run(argv, environment or Environment())
