"""Rules of nftables and iptables that packets for a VIP no longer meet. Reads only.

The data plane takes a packet at its interface, before netfilter; whoever filters by such rules
must know.
"""

# ruff: noqa: PLC0415 - pyroute2 is slow to import, and nft answers in most places.

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from typing import Any

HOOKS = ("ingress", "prerouting", "input", "forward")
HOOKS_BY_NUMBER = {0: "prerouting", 1: "input", 2: "forward", 5: "ingress"}
FAMILIES = ("ip", "inet", "netdev")
OUR_TABLE = "onevip_marks"  # sends packets with a firewall mark to a door (engines/bpf/ruleset.py)
_PATIENCE_S = 2.0

Json = Any


def warnings(vips: Iterable[IPv4Address]) -> list[str]:
    """One line that names every chain which could concern those VIPs, or none."""
    wanted = sorted(set(vips))
    if not wanted:
        return []
    names = ", ".join(map(str, wanted))
    found = [*nftables_chains(_ruleset(), wanted), *_legacy_tables()]
    if not found:
        return []
    skipped = f"packets for {names} do not pass {', '.join(found)}"
    return [f"{skipped}: onevip takes them as they come in, before netfilter"]


def nftables_chains(ruleset: Json, vips: Iterable[IPv4Address]) -> Iterator[str]:
    """`nftables chain inet filter input (2 rules, policy drop)`, for each that could match."""
    rules: dict[tuple[str, str, str], int] = {}
    entries = [next(iter(entry.items())) for entry in ruleset]
    wanted = list(vips)
    for kind, rule in entries:
        if kind == "rule" and _could_match(rule["expr"], wanted):
            key = rule["family"], rule["table"], rule["chain"]
            rules[key] = rules.get(key, 0) + 1
    for kind, chain in entries:
        if kind != "chain" or chain.get("hook") not in HOOKS or chain["family"] not in FAMILIES:
            continue
        if chain["table"] == OUR_TABLE:
            continue
        count = rules.get((chain["family"], chain["table"], chain["name"]), 0)
        drops = chain.get("policy") == "drop"
        if count or drops:
            number = "no rule" if not count else "1 rule" if count == 1 else f"{count} rules"
            yield (
                f"nftables chain {chain['family']} {chain['table']} {chain['name']}"
                f" ({number}{', policy drop' if drops else ''})"
            )


def _could_match(expressions: Json, vips: list[IPv4Address]) -> bool:
    """False only when the rule's own destination address, or lo, rules every VIP out."""
    for expression in expressions:
        match = expression.get("match")
        if match is None or match["op"] not in ("==", "in"):
            continue
        left, right = match["left"], match["right"]
        if left == {"payload": {"protocol": "ip", "field": "daddr"}}:
            networks = [_network(value) for value in _alternatives(right)]
            if None not in networks and not any(
                vip in network for vip in vips for network in networks if network is not None
            ):
                return False
        if left == {"meta": {"key": "iifname"}} and right == "lo":
            return False
    return True


def _alternatives(right: Json) -> list[Json]:
    return right["set"] if isinstance(right, dict) and "set" in right else [right]


def _network(value: Json) -> IPv4Network | None:
    """The addresses of one value; None when that cannot be told (a named set, a range)."""
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    try:
        network = ip_network(value, strict=False)
    except (TypeError, ValueError):
        return None
    return network if isinstance(network, IPv4Network) else None


def _ruleset() -> Json:
    """What nft lists; without nft what netlink tells; empty when neither can."""
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if nft is None:
        return _ruleset_by_netlink()
    try:
        listed = subprocess.run(
            [nft, "-j", "list", "ruleset"], capture_output=True, timeout=_PATIENCE_S, check=True
        )
        return json.loads(listed.stdout)["nftables"]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _ruleset_by_netlink() -> Json:
    """The same, but its rules are empty: netlink has them as virtual machine code."""
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.nftables.main import NFTables

    families = {1: "inet", 2: "ip", 5: "netdev"}
    hooks = {"inet": HOOKS_BY_NUMBER, "ip": HOOKS_BY_NUMBER, "netdev": {0: "ingress"}}
    found = []
    try:
        with NFTables(nfgen_family=0) as socket:
            for chain in socket.get_chains():
                family = families.get(chain["nfgen_family"], "")
                hook = chain.get("NFTA_CHAIN_HOOK")
                number = hook.get("NFTA_HOOK_HOOKNUM") if hook else -1
                table, name = chain.get("NFTA_CHAIN_TABLE"), chain.get("NFTA_CHAIN_NAME")
                described = {"family": family, "table": table, "name": name}
                described["hook"] = hooks.get(family, {}).get(number)
                described["policy"] = "accept" if chain.get("NFTA_CHAIN_POLICY") else "drop"
                found.append({"chain": described})
            for rule in socket.get_rules():
                family = families.get(rule["nfgen_family"], "")
                table, chain = rule.get("NFTA_RULE_TABLE"), rule.get("NFTA_RULE_CHAIN")
                described = {"family": family, "table": table, "chain": chain, "expr": []}
                found.append({"rule": described})
    except (NetlinkError, OSError):
        return []
    return found


def _legacy_tables() -> Iterator[str]:
    """The tables of the old iptables; their rules cannot be read without it."""
    try:
        tables = Path("/proc/net/ip_tables_names").read_text().split()
    except OSError:
        return
    if tables:
        yield f"rules that may stand in iptables' (legacy) {', '.join(sorted(tables))}"
