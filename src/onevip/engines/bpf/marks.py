"""The detour of packets with a firewall mark. Decides nothing about them, the doors do.

A mark is set by rules in prerouting, after the packet has passed the tc door of its interface. So
rules of ours send packets with the mark of a service to ov0, by which they come to the door of
ov1, with their mark and otherwise as they came in (docs/decisions/0007-firewall-marks.md).
"""

from __future__ import annotations

import sys
from contextlib import closing
from ipaddress import IPv4Address

from onevip import namespace
from onevip.engines.bpf import libbpf, pair, ruleset
from onevip.engines.bpf.codec import packed
from onevip.engines.bpf.doors import Doors, Hook, Place, interface
from onevip.engines.bpf.loader import DataPlane, object_path
from onevip.engines.bpf.shapes import SERVICE_KEY

_NOBODY = packed(IPv4Address(0))
_MARK = SERVICE_KEY.fields["mark"].offset

#: By program: where each goes on ov0.
PLACES = {
    "onevip_detour": Place("detour", handle=0x6F77, is_egress=True),
    "onevip_detour_back": Place("detour-back", handle=0x6F77, priority=2),
}


def marks_of(plane: DataPlane) -> set[int]:
    """The marks of IPv4 services: the doors forward no IPv6 yet."""
    keys = [key for key in plane.service_ids.keys() if key.startswith(_NOBODY)]  # noqa: SIM118
    return {int.from_bytes(key[_MARK : _MARK + 4], sys.byteorder) for key in keys} - {0}


class Detour:
    """The detour of one data plane. The caller holds the writer lock."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._made = namespace.run_directory() / "detour"

    def ensure(self, marks: set[int]) -> bool:
        """Make it for these marks, or remove it for none. True: it was not as it should be.

        Idempotent, and right after any earlier one that was killed. Raises DataplaneError.
        """
        if not marks:
            return self.remove()
        if self._is_right(marks):
            return False
        ruleset.require_nft()
        self._made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._made.touch()
        pair.make()
        self._attach()
        Doors(self._plane).follow()  # before packets come to ov1
        ruleset.put(marks)
        return True

    def _is_right(self, marks: set[int]) -> bool:
        return (
            ruleset.is_in_force(marks)
            and pair.is_right()
            and all(self._hook(place).is_attached() for place in PLACES.values())
            and not Doors(self._plane).lacks_tc(interface(pair.IN))
        )

    def _hook(self, place: Place) -> Hook:
        return Hook(self._plane.path / "links", interface(pair.OUT), place)

    def _attach(self) -> None:
        with closing(libbpf.Object(object_path("detour"))) as loaded:
            for name, place in PLACES.items():
                self._hook(place).attach(loaded.programs[name])

    def swap(self) -> None:
        """Give ov0 this version's programs."""
        if self._made.exists() and pair.is_right():
            self._attach()

    def remove(self) -> bool:
        """As if it had never been. True: there was something."""
        if not self._made.exists():
            return False
        ruleset.remove()  # first: from now on nothing takes the detour
        pair.remove()
        Doors(self._plane).follow()  # forgets them
        self._made.unlink()
        return True
