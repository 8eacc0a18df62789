#!/usr/bin/env python3
"""An ipvsadm that keeps its table in the file TABLE: for recording what the real ldirectord does.

Takes what ldirectord gives and knows none of onevip, whose answers it is to judge.
"""

import json
import os
import sys
from pathlib import Path

TABLE = Path(os.environ["TABLE"])
FORWARD = {"-g": "Route", "-i": "Tunnel", "-m": "Masq"}
PROTOCOL = {"-t": "TCP ", "-u": "UDP ", "-f": "FWM "}
HEADER = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"""


def main(argv: list[str]) -> int:
    services = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    command, rest = argv[0], argv[1:]
    if command == "-L":
        show(services, "--thresholds" in rest)
        return 0
    given = options(rest)
    name = service_name(given)
    reals = services[name]["reals"] if name in services else {}
    if command in ("-A", "-E"):
        services[name] = {"flags": flags(given), "reals": reals}
    elif command == "-D":
        services.pop(name, None)
    elif name not in services:
        return 255
    else:
        real = real_name(given, name)
        exists = real in reals
        if exists == (command == "-a"):  # it is there already, or is not
            return 255
        if command == "-d":
            del reals[real]
        else:
            thresholds = [int(given.get("-x", 0)), int(given.get("-y", 0))]
            reals[real] = [given["forward"], int(given.get("-w", 1)), *thresholds]
    TABLE.write_text(json.dumps(services))
    return 0


def options(words: list[str]) -> dict[str, str]:
    given = {}
    rest = iter(words)
    for word in rest:
        if word in FORWARD:
            given["forward"] = FORWARD[word]
        elif word in ("-6", "-o"):
            given[word] = word
        else:
            given[word] = next(rest)
    return given


def service_name(given: dict[str, str]) -> str:
    kind = next(kind for kind in PROTOCOL if kind in given)
    return f"{PROTOCOL[kind]} {given[kind]}" + (" IPv6" if "-6" in given else "")


def real_name(given: dict[str, str], service: str) -> str:
    """gate and ipip cannot change the port: the kernel keeps the service's."""
    host, _, port = given["-r"].rpartition(":")
    if not service.startswith("FWM") and given.get("forward") in ("Route", "Tunnel"):
        port = service.rpartition(":")[2]
    return f"{host}:{port}"


def flags(given: dict[str, str]) -> str:
    text = given["-s"]
    text += f" ({given['-b']})" if "-b" in given else ""
    if "-p" in given:
        text += f" persistent {given['-p']}"
        mask = given.get("-M", "255.255.255.255")
        text += f" mask {mask}" if mask not in ("255.255.255.255", "128") else ""
    return text + (" ops" if "-o" in given else "")


def show(services: dict, thresholds: bool) -> None:
    print(HEADER)
    for name, service in services.items():
        print(f"{name} {service['flags']}")
        for real, (forward, weight, upper, lower) in service["reals"].items():
            if thresholds:
                print(f"  -> {real:<27} {upper:<10} {lower:<10} 0          0         ")
            else:
                print(f"  -> {real:<27} {forward:<7} {weight:<6} 0          0         ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
