"""`onevip lab up|down`: the demo's cluster, left running to play with."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from onevip.lab.cluster import METHODS, VIP, Cluster, interruptible, only_one
from onevip.lab.namespace import LabError

PREFIX = "onevip-"
READY_S = 15.0

WORDS = """\
The cluster is up: forwarding by {method}, door {door}. Try, as root:

  ip netns exec {p}client curl http://{vip}/
  ip netns exec {p}director {onevip} ipvsadm -L -n
  ip netns exec {p}director {onevip} attach --show
  ip netns exec {p}client ip neigh show {vip}
  ip netns exec {p}rs1 tcpdump -e -n -i eth0 port 80
  kill {pid_rs1}      # Apache of real server 1 ends; look at the table again
  ip netns exec {p}rs1 apache2 -f {directory}/rs1/httpd.conf   # it starts again
  tail {log}   # what the daemon said
  kill -9 {pid_daemon}   # the daemon ends; requests and ipvsadm go on
  ip netns exec {p}director {onevip} run {file}   # a new one takes over

Its files: {directory} (edit {file}: autoreload=yes)
The end:   {onevip} lab down{prefix}
"""


def command(argv: list[str]) -> int:
    """`onevip lab …`; its exit status. Raises OnevipError."""
    arguments = parser().parse_args(argv)
    cluster = Cluster(arguments.method, arguments.prefix, arguments.door)
    with only_one(arguments.prefix), interruptible():
        return up(cluster) if arguments.action == "up" else down(cluster)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onevip lab", description="A whole cluster in network namespaces on this machine."
    )
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument(
        "--method", choices=METHODS, default="gate", help="forwarding method (default: gate)"
    )
    parser.add_argument(
        "--door", choices=("tc", "xdp"), default="tc", help="where packets enter (default: tc)"
    )
    parser.add_argument("--prefix", default=PREFIX, help="of the namespaces' names")
    return parser


def up(cluster: Cluster) -> int:
    cluster.up()
    try:
        cluster.write_file()
        cluster.start_daemon()
        wait_until_serving(cluster)
        if cluster.door == "xdp":
            cluster.attach_xdp()
    except BaseException:
        cluster.down()
        raise
    apache = cluster.web_servers["rs1"].process
    assert apache is not None
    assert cluster.daemon is not None
    print(
        WORDS.format(
            method=cluster.method, door=cluster.door, p=cluster.prefix, vip=VIP,
            pid_rs1=apache.pid, pid_daemon=cluster.daemon.pid,
            directory=cluster.directory, file=cluster.file, log=cluster.log, onevip=program(),
            prefix="" if cluster.prefix == PREFIX else f" --prefix {cluster.prefix}",
        ),
        end="",
    )  # fmt: skip
    return 0


def program() -> str:
    """How a shell of root's finds this onevip."""
    beside = Path(sys.executable).with_name("onevip")
    return "onevip" if shutil.which("onevip") else str(beside)


def down(cluster: Cluster) -> int:
    existed = cluster.exists()
    cluster.down()
    print("The cluster is down." if existed else "There was no cluster.")
    return 0


def wait_until_serving(cluster: Cluster) -> None:
    """Return when both real servers have weight; raises LabError with the daemon's last words."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if sum(row.weight > 0 for row in cluster.rows().values()) == 2:
            return
        time.sleep(0.1)
    raise LabError(f"the real servers got no weight; the daemon said:\n{cluster.log.read_text()}")
