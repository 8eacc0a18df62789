"""`onevip connections`: the connection table as lines, as JSON, or counted; its room."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

from onevip.command import connection_filter, room
from onevip.command.environment import Environment
from onevip.engines.base import Engine, LineFormat
from onevip.model import ConnectionKind, Protocol, RealServerKey, ServiceKey, UsageError

WIDTH = len("255.255.255.255:65535")
HEADER = (
    f"{'Proto':<5} {'Expires':>7}  {'State':<11} {'Client':<{WIDTH}} {'VIP':<{WIDTH}} Real server\n"
)


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Print connections, count them, or their room; the exit status. Raises OnevipError."""
    environment = environment or Environment()
    arguments = _parser().parse_args(argv)
    _refuse_what_does_not_go_together(arguments)
    if arguments.room or arguments.grow or arguments.limit is not None:
        environment.stdout.writelines(
            f"{line}\n" for line in _about_room(arguments, environment.engine())
        )
        return 0
    if arguments.count and arguments.json:
        raise UsageError("connections: --count is a table, --json is for lines: leave one out")
    wanted = connection_filter.read(
        arguments.client, arguments.service, arguments.real, arguments.state
    )
    engine, out = environment.engine(), environment.stdout
    if arguments.count:
        out.writelines(f"{line}\n" for line in counted(engine.connection_counts(wanted)))
        return 0
    if not arguments.json:
        out.write(HEADER)
    for lines in engine.connection_lines(JSON if arguments.json else TABLE, wanted):
        out.write(lines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onevip connections",
        description="Show the connections of this director. Each is shown as it was at one"
        " instant; one that begins or ends meanwhile is shown or not. Filters go together.",
    )
    parser.add_argument("--client", metavar="ADDR[/LEN]", help="of this client or network")
    parser.add_argument(
        "--service", metavar="tcp|udp|sctp:VIP:PORT", help="to this service; port 0: every port"
    )
    parser.add_argument("--real", metavar="ADDR[:PORT]", help="on this real server")
    parser.add_argument("--state", metavar="STATE[,STATE]", help="in one of these states")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--count", action="store_true", help="only count: by state, service and real server"
    )
    parser.add_argument(
        "--room", action="store_true", help="how full the table is, and who found no room"
    )
    parser.add_argument(
        "--limit", metavar="N", help="set the number of connections that the table grows for"
    )
    parser.add_argument(
        "--grow", action="store_true", help="let it grow now: onevip run does so by itself"
    )
    return parser


def _refuse_what_does_not_go_together(arguments: argparse.Namespace) -> None:
    about_room = [f"--{name}" for name in ("room", "limit", "grow") if vars(arguments)[name]]
    others = ("client", "service", "real", "state", "count")
    about_connections = [f"--{name}" for name in others if vars(arguments)[name]]
    if about_room and about_connections:
        raise UsageError(
            f"connections: {about_room[0]} is about the whole table: leave"
            f" {about_connections[0]} out"
        )
    if arguments.room and len(about_room) > 1:
        raise UsageError(f"connections: --room only shows: give {about_room[1]} alone")
    if arguments.json and about_room and not arguments.room:
        raise UsageError(f"connections: {about_room[0]} answers in words: leave --json out")


def _about_room(arguments: argparse.Namespace, engine: Engine) -> Iterator[str]:
    if arguments.limit is not None:
        limit = room.read_limit(arguments.limit)
        before = engine.room()
        after = engine.set_limit(limit)
        yield room.limited(after) if len(after.tables) <= len(before.tables) else room.grown(after)
    if arguments.grow:
        yield room.grown(engine.grow())
    if arguments.room:
        yield from [room.as_json(engine.room())] if arguments.json else room.shown(engine.room())


def _table_head(
    protocol: Protocol, state: str, expires_s: int, _active: bool, _template: bool
) -> str:
    expires = f"{expires_s // 60}:{expires_s % 60:02}"
    return f"{protocol.name:<5} {expires:>7}  {state:<11} "


def _table_tail(service: ServiceKey, real_server: RealServerKey) -> str:
    vip = str(service).partition(" ")[2]
    return f" {vip:<{WIDTH}} {real_server}\n"


TABLE = LineFormat(_table_head, _table_tail, client_width=WIDTH)


def _json_head(protocol: Protocol, state: str, expires_s: int, active: bool, template: bool) -> str:
    return (
        f'{{"protocol":"{protocol.name.lower()}","state":"{state}","expires_s":{expires_s},'
        f'"active":{_json(active)},"template":{_json(template)},"client":"'
    )


def _json_tail(service: ServiceKey, real_server: RealServerKey) -> str:
    return (
        f',"vip":"{service.address}","vip_port":{service.port},'
        f'"real":"{real_server.address}","real_port":{real_server.port}}}\n'
    )


def _json(value: bool) -> str:
    return "true" if value else "false"


#: Nothing in it needs escaping: names of states, addresses and numbers.
JSON = LineFormat(_json_head, _json_tail, between='","client_port":', brackets=False)


def counted(counts: Counter[ConnectionKind]) -> Iterator[str]:
    """The lines of `--count`; connections and templates apart, as in IPVS's counters."""
    states: dict[tuple[bool, str], Counter[Protocol]] = {}
    services: dict[ServiceKey, Counter[bool]] = {}
    real_servers: dict[RealServerKey, Counter[bool]] = {}
    total: Counter[bool] = Counter()
    for kind, number in counts.items():
        state = kind.template, kind.state
        states.setdefault(state, Counter())[kind.service.protocol] += number
        services.setdefault(kind.service, Counter())[kind.template] += number
        real_servers.setdefault(kind.real_server, Counter())[kind.template] += number
        total[kind.template] += number
    protocols = sorted({kind.service.protocol for kind in counts} | {Protocol.TCP, Protocol.UDP})
    yield _row("State", *(protocol.name for protocol in protocols))
    for (is_template, name), numbers in sorted(states.items()):
        shown = f"{name} (template)" if is_template else name
        yield _row(shown, *(numbers[protocol] for protocol in protocols))
    yield ""
    yield _row("Service", "Connections", "Templates")
    for service in sorted(services, key=lambda one: one.order):
        protocol, _, endpoint = str(service).partition(" ")
        yield _row(f"{protocol.upper()} {endpoint}", *_pair(services[service]))
    yield ""
    yield _row("Real server", "Connections", "Templates")
    for real_server in sorted(real_servers, key=lambda one: one.order):
        yield _row(str(real_server), *_pair(real_servers[real_server]))
    yield ""
    yield _row("Total", *_pair(total))


def _pair(numbers: Counter[bool]) -> tuple[int, int]:
    return numbers[False], numbers[True]


def _row(name: str, *cells: int | str) -> str:
    return f"{name:<28}" + "".join(f" {cell:>11}" for cell in cells)
