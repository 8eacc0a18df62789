"""Instructions a packet, beside the kernel's own IPVS: one guest, one run.

qemu counts a nanosecond for every instruction that the guest executes, so figures repeat to a
percent on a busy machine, and caches do not show. Wants a program that runs a command under
another kernel (`kernelvm --kernel 6.12 --icount -- COMMAND…`), named by ONEVIP_KERNELVM or found
beside this tree; without it this section is left out. `--here` measures nanoseconds on this
kernel instead, without IPVS if it has none: for working on the benchmark itself.

`value` is net of the floor, the generator and a program that drops; `ratio` is to the net value of
the kernel's IPVS in the same case. A goal is in instructions, written as a ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from benchmarks import needed, report, roads
from benchmarks.live import ACK, BATCH, REALS, SOURCE, SYN, VIP, Programs, Run, frame, site
from benchmarks.options import Options
from benchmarks.results import Result
from benchmarks.sections import BenchmarkError
from onevip.lab.cluster import interruptible
from onevip.model import ForwardingMethod, OnevipError, Protocol
from scripts import build_bpf

ROOT = Path(__file__).resolve().parents[1]
PLACES = (os.environ.get("ONEVIP_KERNELVM"), ROOT.parent / "shared" / "tools" / "kernelvm")
KERNEL = "6.12"
LIMIT_S = 1800

ROUNDS = 5  # the first warms caches and is not counted
PACKETS, QUICK_PACKETS = 128 * BATCH, 16 * BATCH
GATE, MASQ = ForwardingMethod.GATE, ForwardingMethod.MASQ
FLOOR = "generator, XDP_DROP"
AT_VIP, AT_REALS = IPv4Network(VIP), REALS


@dataclass(frozen=True, slots=True)
class Case:
    """A road, and the packets that it is given."""

    name: str
    road: roads.Road
    arrive_at: IPv4Network  # the destination that every packet has at the sink
    reals: int = 1
    is_new: bool = False  # every packet opens a connection; else all are of one that stands
    protocol: Protocol = Protocol.TCP
    ipvs: str = ""  # the case of the kernel's IPVS that it is compared with
    most: float | None = None  # the goal, in instructions
    has_one_leg: bool = False  # the director, to clients and real servers; else two

    @property
    def is_ipvs(self) -> bool:
        return self.name == self.ipvs

    @property
    def flags(self) -> int:
        return SYN if self.is_new else ACK


def both(
    what: str,
    method: ForwardingMethod,
    scheduler: str,
    reals: int,
    *,
    doors: dict[str, float | None],
    has_one_leg: bool = False,
) -> Iterator[Case]:
    """The kernel's IPVS and onevip in one case; the goals by onevip's doors."""
    ipvs = f"{what}, kernel IPVS"
    at = AT_REALS if method == MASQ else AT_VIP
    is_new = what.startswith("new")
    of_ipvs = Case(
        ipvs, roads.ipvs(method, scheduler, reals), at, reals, is_new, ipvs=ipvs,
        has_one_leg=has_one_leg,
    )  # fmt: skip
    yield of_ipvs
    for door, most in doors.items():
        road = roads.onevip(door, method, scheduler, reals)
        yield replace(of_ipvs, name=f"{what}, onevip {door}", road=road, most=most)


TWO_LEGS, ONE_LEG = "established gate, two legs", "established gate, one leg"
ESTABLISHED_MASQ = "established masq"
CASES = (
    Case(FLOOR, roads.drop, AT_VIP),
    Case("XDP_TX with MACs swapped", roads.swap, AT_VIP, ipvs=f"{ONE_LEG}, kernel IPVS"),
    Case("XDP redirect", roads.redirect, AT_VIP, ipvs=f"{TWO_LEGS}, kernel IPVS"),
    Case("kernel forwarding", roads.forwarding, AT_VIP, ipvs=f"{TWO_LEGS}, kernel IPVS"),
    Case(
        "nft dnat, UDP", roads.nft_dnat, AT_REALS, protocol=Protocol.UDP,
        ipvs=f"{ESTABLISHED_MASQ}, kernel IPVS",
    ),
    *both(TWO_LEGS, GATE, "rr", 1, doors={"xdp": 600, "tc": None}),
    *both(ONE_LEG, GATE, "rr", 1, doors={"xdp": 600}, has_one_leg=True),
    *both(ESTABLISHED_MASQ, MASQ, "rr", 1, doors={"xdp": 650, "tc": None}),
    *both("new masq, rr of 10", MASQ, "rr", 10, doors={"xdp": 1500}),
    *both("new masq, wlc of 10", MASQ, "wlc", 10, doors={"xdp": None}),
    *both("new masq, wlc of 100", MASQ, "wlc", 100, doors={"xdp": None}),
    *both("new masq, wlc of 1000", MASQ, "wlc", 1000, doors={"xdp": 9000}),
)  # fmt: skip


# In the guest.


def measure(case: Case, programs: Programs, packets: int = PACKETS) -> float:
    """Instructions a packet, floor included. Raises BenchmarkError when a count does not add up."""
    values = []
    with site(programs, case.reals, has_one_leg=case.has_one_leg) as built:
        tally = case.road(built)
        if not case.is_new and case.protocol == Protocol.TCP:
            for flags in (SYN, ACK):
                built.run(frame(case.protocol, flags), BATCH, wanted=case.arrive_at)
        for number in range(ROUNDS):
            before = tally() if tally else (0, 0)
            run = built.run(
                frame(case.protocol, case.flags),
                packets,
                wanted=case.arrive_at,
                first_flow=number * packets if case.is_new else 0,
                step=int(case.is_new),
            )
            after = tally() if tally else (packets, 0)
            values.append(run.ns_a_packet)
            if number:
                check(case, run, after[0] - before[0], after[1] - before[1])
    return statistics.median(values[1:])


def check(case: Case, run: Run, carried: int, elsewhere: int) -> None:
    """Every packet came by the road and arrived as it should have been made."""
    # Once a second each real server's way is looked at, and its packet may be left to tc.
    looks = case.reals * (1 + run.packets * run.ns_a_packet / 1e9)
    arrived = (run.arrived, run.others) == (run.packets, 0)
    if arrived and carried + elsewhere == run.packets and elsewhere <= looks:
        return
    raise BenchmarkError(
        f"{case.name}: of {run.packets} packets {run.arrived} arrived, and {run.others} others;"
        f" by its own count it carried {carried}, another road {elsewhere}"
    )


def selected(options: Options, *, has_ipvs: bool) -> list[Case]:
    """What is asked for, and what that is compared with."""
    wanted = [case for case in CASES if options.wants(case.name)]
    names = {FLOOR, *(case.name for case in wanted), *(case.ipvs for case in wanted)}
    return [case for case in CASES if case.name in names and (has_ipvs or not case.is_ipvs)]


def measure_here(options: Options, object_file: Path) -> Iterator[tuple[str, float]]:
    """Cases and their cost, floor included, as they are found."""
    programs = Programs(object_file)
    packets = QUICK_PACKETS if options.quick else PACKETS
    for case in selected(options, has_ipvs=roads.has_ipvs()):
        yield case.name, measure(case, programs, packets)


# On the host.


def kernelvm() -> Path | None:
    return next((Path(place) for place in PLACES if place and Path(place).exists()), None)


def compiled(directory: Path) -> Path:
    target = directory / "live.bpf.o"
    build_bpf.compile_object(SOURCE, target)
    return target


def boot(program: Path, options: Options, shared: Path) -> str:
    """Measure in the guest; what it printed."""
    asked = ["--only", options.only, *(["--quick"] if options.quick else [])]
    inside = [sys.executable, "-m", "benchmarks.instructions", "--inside", str(shared), *asked]
    # The guest has a /tmp of its own: what lies below ours must be shared to be seen.
    hidden = [shared, *([ROOT] if ROOT.is_relative_to(tempfile.gettempdir()) else [])]
    # sleep=on: an idle guest's clock would run ahead, and who waits for the host's files time out.
    command = [
        str(program), "--kernel", KERNEL, "--icount", "--icount-opts", "shift=0,sleep=on",
        "--timeout", str(LIMIT_S),
        "--cwd", str(ROOT), "--env", "PYTHONDONTWRITEBYTECODE=1",
        *(word for path in hidden for word in ("--rw", str(path))), "--", *inside,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as guest:
        try:
            said = guest.communicate()[0]
        finally:
            guest.terminate()  # not killed: it has a guest to end
    if guest.returncode:
        raise BenchmarkError(f"the guest ended with status {guest.returncode}, after\n{said}")
    return said


def results_of(costs: dict[str, float], options: Options, kernel: str) -> list[Result]:
    """From costs with the floor in them, by case."""
    floor = costs[FLOOR]
    results = []
    for case in CASES:
        if case.name == FLOOR or case.name not in costs or not options.wants(case.name):
            continue
        net, ipvs = costs[case.name] - floor, costs[case.ipvs] - floor
        goal = None if case.most is None else case.most / ipvs
        results.append(
            Result(case.name, net, "instructions", floor, net / ipvs, goal, kernel=kernel)
        )
    return results


def run(options: Options) -> list[Result]:
    program = kernelvm()
    if program is None:
        print(
            "instructions are left out: set ONEVIP_KERNELVM to a program that runs a command under"
            " another kernel"
        )
        return []
    needed.require("ipvsadm", "nft")
    with tempfile.TemporaryDirectory(prefix="onevip-bench-") as shared:
        compiled(Path(shared))
        with interruptible():
            said = boot(program, options, Path(shared))
    kernel, *lines = said.splitlines()
    costs = {name: float(cost) for cost, name in (line.split(" ", 1) for line in lines)}
    return results_of(costs, options, kernel)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases whose name has this")
    parser.add_argument("--quick", action="store_true", help="fewer packets, to try it out")
    parser.add_argument("--here", action="store_true", help="nanoseconds on this kernel")
    parser.add_argument("--inside", type=Path, metavar="DIRECTORY", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    options = Options(only=given.only, quick=given.quick)
    if given.inside:
        print(os.uname().release, flush=True)
        for name, cost in measure_here(options, given.inside / "live.bpf.o"):
            print(f"{cost:.1f} {name}", flush=True)
    elif given.here:
        with tempfile.TemporaryDirectory(prefix="onevip-bench-") as directory:
            for name, cost in measure_here(options, compiled(Path(directory))):
                print(f"{cost:8.1f} ns  {name}", flush=True)
    else:
        print(report.table(run(options), "instructions"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchmarkError, OnevipError) as error:
        sys.exit(f"instructions: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
