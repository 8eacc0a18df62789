"""Load by wrk from the client of a cluster, and what it counted."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from onevip.lab import Cluster
from onevip.lab.cluster import VIP

CONNECTIONS = 50


@dataclass
class Load:
    """What wrk reported; `errors` are its lines on socket errors and other statuses than 2xx."""

    requests: int = 0
    errors: list[str] = field(default_factory=list)
    report: str = ""


@contextmanager
def load(cluster: Cluster, seconds: int, *options: str, to_the_end: bool = True) -> Iterator[Load]:
    """Runs while the block does, and on to its own end unless `to_the_end` is False.

    The result is there after the block.
    """
    # Closed connections would use up the client's ports within seconds.
    cluster.client.sysctl({"ipv4/tcp_tw_reuse": 1})
    cluster.client.run("sh", "-c", "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range")
    process = cluster.client.start(
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options, f"http://{VIP}/",
        output=subprocess.PIPE,
    )  # fmt: skip
    result = Load()
    try:
        yield result
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if not to_the_end:
        assert process.poll() is None, "the block lasted longer"
        process.send_signal(signal.SIGINT)
    result.report = process.communicate(timeout=seconds + 20)[0].decode()
    result.errors = re.findall(r".*(?:Socket errors|Non-2xx|unable).*", result.report)
    counted = re.search(r"(\d+) requests in", result.report)
    result.requests = int(counted[1]) if counted else 0
