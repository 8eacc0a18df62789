"""`onevip connections`: the connection table as lines, as JSON, or counted."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

from onevip.command import connection_filter
from onevip.command.environment import Environment
from onevip.engines.base import LineFormat
from onevip.model import ConnectionKind, Protocol, RealServerKey, ServiceKey, UsageError

WIDTH = len("255.255.255.255:65535")
HEADER = (
    f"{'Proto':<5} {'Expires':>7}  {'State':<11} {'Client':<{WIDTH}} {'VIP':<{WIDTH}} Real server\n"
)


def main(argv: list[str], environment: Environment | None = None) -> int:
    """Print connections, or count them; the exit status. Raises OnevipError."""
    environment = environment or Environment()
    arguments = _parser().parse_args(argv)
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
        "--service", metavar="tcp|udp:VIP:PORT", help="to this service; port 0: every port"
    )
    parser.add_argument("--real", metavar="ADDR[:PORT]", help="on this real server")
    parser.add_argument("--state", metavar="STATE[,STATE]", help="in one of these states")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--count", action="store_true", help="only count: by state, service and real server"
    )
    return parser


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
    yield _row("State", *(protocol.name for protocol in Protocol))
    for (is_template, name), numbers in sorted(states.items()):
        shown = f"{name} (template)" if is_template else name
        yield _row(shown, *(numbers[protocol] for protocol in Protocol))
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
