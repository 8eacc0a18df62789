"""Which options of ipvsadm go together: the original's checks after reading (spec ipvs §10.3)."""

from __future__ import annotations

from onevip.command.ipvsadm.request import Fault, Request
from onevip.command.ipvsadm.words import GROUPS, OPTIONS, VALIDITY
from onevip.model.service import ForwardingMethod, Protocol

#: Tunnel type → option → required (+), one of these (1) or illegal (x).
TUNNELS = {
    "ipip": {"tun-port": "x", "tun-nocsum": "x", "tun-csum": "x", "tun-remcsum": "x"},
    "gue": {"tun-port": "+", "tun-nocsum": "1", "tun-csum": "1", "tun-remcsum": "1"},
    "gre": {"tun-port": "x", "tun-nocsum": "1", "tun-csum": "1", "tun-remcsum": "x"},
}


def check(request: Request) -> None:
    """Raises Fault for options that do not go together; mends the port of a real server."""
    groups = {OPTIONS[option][1] for option in request.given} - {""}
    _check_validity(request.name, groups)
    if request.command in ("add-service", "edit-service"):
        _check_service(request)
    elif request.command in ("add-server", "edit-server"):
        _check_real_server(request)
    elif request.command == "list":
        _check_list(groups)


def _check_validity(name: str, groups: set[str]) -> None:
    """The matrix of words.py, row by row."""
    rules = VALIDITY.get(name, {})
    last = None
    for group in GROUPS:
        rule = rules.get(group, ".")
        if group not in groups:
            if rule == "R":
                raise Fault(f"You need to supply the '{group}' option for the '{name}' command")
        elif rule == ".":
            raise Fault(f"Illegal '{group}' option with the '{name}' command")
        elif rule == "1":
            if last is not None:
                raise Fault(
                    f"The option '{group}' conflicts with the '{last}' option"
                    f" in the '{name}' command"
                )
            last = group


def _check_service(request: Request) -> None:
    if not request.fwmark and not request.service_port and "persistent" not in request.given:
        raise Fault("Zero port specified for non-persistent service")
    is_udp = request.protocol is Protocol.UDP
    if "ops" in request.given and not request.fwmark and not is_udp:
        raise Fault("One-Packet Scheduling is only for UDP virtual services")


def _check_real_server(request: Request) -> None:
    if not request.fwmark and request.method is not ForwardingMethod.MASQ:
        # DR and TUN deliver the packet with the port that the client sent it to.
        request.real_port = request.service_port
    _check_tunnel(request)
    is_tunnel = request.method is ForwardingMethod.IPIP
    if (
        request.real is not None
        and request.real.address.version != request.family
        and not is_tunnel
    ):
        raise Fault("Different address family is allowed only for tunneling servers")


def _check_tunnel(request: Request) -> None:
    used = [option for option in request.given if option.startswith("tun-")]
    if used and request.method is not ForwardingMethod.IPIP:
        raise Fault("Tunnel options conflict with forward method")
    tunnel = request.given.get("tun-type") or "ipip"
    last = None
    for option, rule in TUNNELS[tunnel].items():
        if option not in used:
            if rule == "+":
                raise Fault(
                    f"You need to supply the '{option}' option for the '{tunnel}' tunnel type"
                )
        elif rule == "x":
            raise Fault(f"Illegal '{option}' option with the '{tunnel}' tunnel type")
        elif rule == "1":
            if last is not None:
                raise Fault(
                    f"The option '{option}' conflicts with the '{last}' option"
                    f" in the '{tunnel}' tunnel type"
                )
            last = option


def _check_list(groups: set[str]) -> None:
    special = groups & {"connection", "timeout", "daemon"}
    if (special and groups & {"stats", "rate", "thresholds"}) or (
        special - {"connection"} and "persistent-conn" in groups
    ):
        raise Fault("options conflicts in the list command")
