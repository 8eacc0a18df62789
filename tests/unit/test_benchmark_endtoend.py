"""End to end: what wrk and the kernel say, the guard, and the arithmetic. Measures nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cpu, needed
from benchmarks.balancers import BALANCERS, NO_BALANCER, Balancer, door_counter
from benchmarks.endtoend import COLUMNS, Column, Measured, by_turns, check, results_of, wanted
from benchmarks.load import Load, command, parse
from benchmarks.options import Options
from benchmarks.sections import BenchmarkError

REPORT = """\
Running 3s test @ http://10.20.0.100/
  1 threads and 25 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   518.14us  201.44us   5.45ms   80.17%
    Req/Sec    47.95k     3.24k   53.71k    73.33%
  143067 requests in 3.00s, 23.19MB read
Requests/sec:  47675.90
Transfer/sec:      7.73MB
"""
SOCKET_ERRORS = "  Socket errors: connect 0, read 3, write 0, timeout 1\n"
NON_2XX = "  Non-2xx or 3xx responses: 12\n"
REFUSED = "unable to connect to 10.20.0.100:80 Connection refused\n"

KEEP_ALIVE, NEW, BULK = COLUMNS
TC_MASQ = next(one for one in BALANCERS if one.name == "onevip tc masq")


def test_what_wrk_did() -> None:
    assert parse(REPORT) == Load(143067, 23.19 * (1 << 20))


@pytest.mark.parametrize(
    ("read", "size"),
    [("512B", 512), ("1.50KB", 1536), ("2.00GB", 2 << 30), ("1.00TB", 1 << 40)],
)
def test_units_are_powers_of_1024(read: str, size: int) -> None:
    assert parse(REPORT.replace("23.19MB", read)).read_bytes == size


@pytest.mark.parametrize("line", [SOCKET_ERRORS, NON_2XX])
def test_an_error_of_wrk_is_kept(line: str) -> None:
    report = REPORT.replace("Requests/sec", f"{line}Requests/sec")
    assert parse(report).errors == (line.strip(),)


@pytest.mark.parametrize("report", [REFUSED, ""])
def test_no_count_is_an_error(report: str) -> None:
    assert parse(report).requests == 0
    assert len(parse(report).errors) == 1


def test_two_clients_add_up() -> None:
    assert Load(2, 30, ("a",)) + Load(3, 40, ("b",)) == Load(5, 70, ("a", "b"))


def test_wrk_is_asked_to_close() -> None:
    assert command("http://h/", 3, 25, is_closing=True) == [
        "wrk", "-t1", "-c25", "-d3s", "-H", "Connection: close", "http://h/",
    ]  # fmt: skip
    assert "-H" not in command("http://h/", 3, 25, is_closing=False)


def test_a_load_with_an_error_is_no_result() -> None:
    with pytest.raises(BenchmarkError, match="timeout 1"):
        check("keep-alive", Load(100, 1, (SOCKET_ERRORS.strip(),)), None)
    with pytest.raises(BenchmarkError, match="0 requests"):
        check("keep-alive", Load(0, 0), None)


def test_a_balancer_that_has_not_counted_the_requests_is_no_result() -> None:
    check("keep-alive", Load(100, 1), 100)
    with pytest.raises(BenchmarkError, match="counted 99 packets"):
        check("keep-alive", Load(100, 1), 99)


def test_bulk_is_by_mb_and_the_others_are_by_request() -> None:
    load = Load(20, 200 << 20)
    assert [column.amount(load) for column in COLUMNS] == [20, 20, 200]


def test_a_balancer_is_held_against_its_neighbours_and_ratios_against_each_other() -> None:
    turns = [
        Measured(KEEP_ALIVE, TC_MASQ, 12.0, before_us=8.0, after_us=12.0),
        Measured(KEEP_ALIVE, TC_MASQ, 22.0, before_us=20.0, after_us=20.0),
        Measured(KEEP_ALIVE, TC_MASQ, 60.0, before_us=30.0, after_us=50.0),
    ]
    none, ours = results_of(turns, Options())
    assert (none.case, none.ratio, none.goal) == ("keep-alive, no balancer", 1.5, None)
    assert none.note == "1.00 to 1.67", "the drift from one to the next"
    assert (ours.case, ours.value, ours.floor) == ("keep-alive, onevip tc masq", 22, 20)
    assert (ours.ratio, ours.goal, ours.is_reached, ours.least) == (1.2, 1.2, True, 12)
    assert ours.note == "1.10 to 1.50"


class Bare:
    """Stands for a cluster; says what it is told to."""

    def __init__(self, balancer: Balancer, *costs: float) -> None:
        self.balancer = balancer
        self._costs = iter(costs)

    def cost_us(self, column: Column) -> float:
        return next(self._costs)


def test_each_turn_lies_between_two_of_no_balancer() -> None:
    bare, ours = Bare(NO_BALANCER, 1, 2, 3), Bare(TC_MASQ, 10, 20)
    found = by_turns(bare, ours, NEW, 2)  # type: ignore[arg-type]
    assert list(found) == [Measured(NEW, TC_MASQ, 10, 1, 2), Measured(NEW, TC_MASQ, 20, 2, 3)]


def test_only_what_was_asked_for() -> None:
    one = Options(only="bulk")
    assert not wanted(TC_MASQ, COLUMNS, one)
    new = Options(only="new*tc masq")
    assert wanted(TC_MASQ, COLUMNS, new)
    assert not wanted(TC_MASQ, [KEEP_ALIVE], new)
    turns = [Measured(NEW, TC_MASQ, 110.0, 90.0, 110.0)]
    assert [found.ratio for found in results_of(turns, new)] == [1.1]


def test_cpu_time_of_a_cgroup() -> None:
    stat = "usage_usec 313965\nuser_usec 313960\nsystem_usec 5\n"
    assert cpu.usage_us(stat) == 313965
    with pytest.raises(BenchmarkError):
        cpu.usage_us("nr_periods 0\n")


def test_the_cgroup_lies_where_version_2_is_mounted() -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0"
    )
    assert cpu.mount_point(mounts) == Path("/sys/fs/cgroup/unified")
    with pytest.raises(BenchmarkError, match="mount -t cgroup2"):
        cpu.mount_point(mounts.splitlines()[0])


@pytest.mark.parametrize(
    ("config", "command_line", "expected"),
    [
        ("CONFIG_IRQ_TIME_ACCOUNTING=y\n", "quiet", True),
        ("CONFIG_IRQ_TIME_ACCOUNTING=y\n", "quiet tsc=noirqtime", False),
        ("# CONFIG_IRQ_TIME_ACCOUNTING is not set\n", "quiet", False),
        ("", "", False),
    ],
)
def test_a_kernel_that_keeps_softirq_time_apart(
    config: str, command_line: str, expected: bool
) -> None:
    assert cpu.keeps_softirq_apart(config, command_line) is expected


SHOWN = """\
Interface        Door     Why
eth0             xdp,tc   xdp asked for by name; tc takes what it leaves

Packets                    tc          xdp
masq                        7         4096
handed over                 0            7
"""


def test_a_door_s_own_counter() -> None:
    assert door_counter(SHOWN, "xdp", "masq") == 4096
    assert door_counter(SHOWN, "tc", "masq") == 7
    assert door_counter(SHOWN, "tc", "gate") == 0  # never happened
    with pytest.raises(Exception, match="nothing is attached"):
        door_counter("nothing is attached: no service has been added here yet\n", "tc", "masq")


def test_what_is_missing_and_what_to_do() -> None:
    with pytest.raises(BenchmarkError, match=r"not found: no-such-program.*apt-get install .*wrk"):
        needed.require("sh", "no-such-program")
    needed.require("sh", "/etc/passwd")
