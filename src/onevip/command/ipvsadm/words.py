"""ipvsadm's vocabulary as data: commands, options, and which goes with which (spec ipvs §10.3).

Names of commands are those of its messages (`add-service`); options are named by their long form.
"""

from __future__ import annotations

from onevip.command.ipvsadm.popt import Takes

#: Long form → (letter, name in messages, what it takes).
COMMANDS: dict[str, tuple[str, str, Takes]] = {
    "add-service": ("A", "add-service", Takes.NOTHING),
    "edit-service": ("E", "edit-service", Takes.NOTHING),
    "delete-service": ("D", "delete-service", Takes.NOTHING),
    "clear": ("C", "flush", Takes.NOTHING),
    "list": ("L", "list", Takes.NOTHING),
    "add-server": ("a", "add-server", Takes.NOTHING),
    "delete-server": ("d", "delete-server", Takes.NOTHING),
    "edit-server": ("e", "edit-server", Takes.NOTHING),
    "set": ("", "set", Takes.NOTHING),
    "start-daemon": ("", "start-daemon", Takes.VALUE),
    "stop-daemon": ("", "stop-daemon", Takes.VALUE),
    "restore": ("R", "restore", Takes.NOTHING),
    "save": ("S", "save", Takes.NOTHING),
    "zero": ("Z", "zero", Takes.NOTHING),
    "help": ("h", "help", Takes.NOTHING),
    "version": ("v", "version", Takes.NOTHING),
}

#: Long form → (letter, group, what it takes). The members of a group exclude each other.
OPTIONS: dict[str, tuple[str, str, Takes]] = {
    "tcp-service": ("t", "service-address", Takes.VALUE),
    "udp-service": ("u", "service-address", Takes.VALUE),
    "sctp-service": ("", "service-address", Takes.VALUE),
    "fwmark-service": ("f", "service-address", Takes.VALUE),
    "scheduler": ("s", "scheduler", Takes.VALUE),
    "persistent": ("p", "persistent", Takes.VALUE_OR_NOTHING),
    "netmask": ("M", "netmask", Takes.VALUE),
    "pe": ("", "pe", Takes.VALUE),
    "ops": ("o", "ops", Takes.NOTHING),
    "sched-flags": ("b", "sched-flags", Takes.VALUE),
    "real-server": ("r", "real-server", Takes.VALUE),
    "gatewaying": ("g", "forwarding-method", Takes.NOTHING),
    "ipip": ("i", "forwarding-method", Takes.NOTHING),
    "masquerading": ("m", "forwarding-method", Takes.NOTHING),
    "weight": ("w", "weight", Takes.VALUE),
    "u-threshold": ("x", "u-threshold", Takes.VALUE),
    "l-threshold": ("y", "l-threshold", Takes.VALUE),
    "tun-type": ("", "tun-type", Takes.VALUE),
    "tun-port": ("", "tun-port", Takes.VALUE),
    "tun-nocsum": ("", "tun-nocsum", Takes.NOTHING),
    "tun-csum": ("", "tun-csum", Takes.NOTHING),
    "tun-remcsum": ("", "tun-remcsum", Takes.NOTHING),
    "numeric": ("n", "numeric", Takes.NOTHING),
    "connection": ("c", "connection", Takes.NOTHING),
    "timeout": ("", "timeout", Takes.NOTHING),
    "daemon": ("", "daemon", Takes.NOTHING),
    "stats": ("", "stats", Takes.NOTHING),
    "rate": ("", "rate", Takes.NOTHING),
    "thresholds": ("", "thresholds", Takes.NOTHING),
    "persistent-conn": ("", "persistent-conn", Takes.NOTHING),
    "tun-info": ("", "tun-info", Takes.NOTHING),
    "nosort": ("", "nosort", Takes.NOTHING),
    "sort": ("", "", Takes.NOTHING),  # does nothing, as ever
    "exact": ("X", "exact", Takes.NOTHING),
    "ipv6": ("6", "", Takes.NOTHING),
    "syncid": ("", "syncid", Takes.VALUE),
    "mcast-interface": ("", "mcast-interface", Takes.VALUE),
    "mcast-group": ("", "mcast-group", Takes.VALUE),
    "mcast-port": ("", "mcast-port", Takes.VALUE),
    "mcast-ttl": ("", "mcast-ttl", Takes.VALUE),
    "sync-maxlen": ("", "sync-maxlen", Takes.VALUE),
}

_COLUMNS = (
    ("add-service", "edit-service"),
    ("delete-service",),
    ("add-server", "edit-server"),
    ("delete-server",),
    ("list",),
    ("zero",),
    ("save",),
    ("start-daemon",),
    ("stop-daemon",),
)

# R required, o optional, 1 at most one of these, . illegal. Rows stand in the order of checking;
# flush, restore and set take nothing and have no column.
_MATRIX = """
                       AE D ae d L Z S start stop
    numeric            .  . .  . o . o .     .
    connection         .  . .  . 1 . . .     .
    service-address    R  R R  R 1 o . .     .
    scheduler          o  . .  . . . . .     .
    persistent         o  . .  . . . . .     .
    netmask            o  . .  . . . . .     .
    real-server        .  . R  R . . . .     .
    forwarding-method  .  . o  . . . . .     .
    weight             .  . o  . . . . .     .
    u-threshold        .  . o  . . . . .     .
    l-threshold        .  . o  . . . . .     .
    mcast-interface    .  . .  . . . . o     .
    timeout            .  . .  . 1 . . .     .
    daemon             .  . .  . 1 . . .     .
    stats              .  . .  . o . . .     .
    rate               .  . .  . o . . .     .
    thresholds         .  . .  . o . . .     .
    persistent-conn    .  . .  . o . . .     .
    nosort             .  . .  . o . . .     .
    syncid             .  . .  . o . . o     o
    exact              .  . .  . o . . .     .
    ops                o  . .  . . . . .     .
    pe                 o  . .  . . . . .     .
    sched-flags        o  . .  . . . . .     .
    mcast-group        .  . .  . . . . o     .
    mcast-port         .  . .  . . . . o     .
    mcast-ttl          .  . .  . . . . o     .
    sync-maxlen        .  . .  . . . . o     .
    tun-info           .  . .  . o . . .     .
    tun-type           .  . o  . . . . .     .
    tun-port           .  . o  . . . . .     .
    tun-nocsum         .  . o  . . . . .     .
    tun-csum           .  . o  . . . . .     .
    tun-remcsum        .  . o  . . . . .     .
"""

GROUPS: tuple[str, ...] = tuple(row.split()[0] for row in _MATRIX.splitlines()[2:])


def _validity() -> dict[str, dict[str, str]]:
    rows = [row.split() for row in _MATRIX.splitlines()[2:]]
    return {
        command: {row[0]: row[column] for row in rows}
        for column, commands in enumerate(_COLUMNS, start=1)
        for command in commands
    }


#: Command → group → R, o, 1 or "." (see the table).
VALIDITY = _validity()

_LETTERS = {
    letter: long
    for table in (COMMANDS, OPTIONS)
    for long, (letter, _, _) in table.items()
    if letter
} | {"l": "list"}


def find(name: str) -> tuple[str, Takes] | None:
    """The option or command of a letter or a long name."""
    long = _LETTERS.get(name) if len(name) == 1 else name
    entry = COMMANDS.get(long or "") or OPTIONS.get(long or "")
    return (long, entry[2]) if long and entry else None
