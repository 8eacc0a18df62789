"""The cluster: a switch, a client, a director, two real servers on one LAN, and web servers.

client    10.20.0.1                 --+
director  10.20.0.10, VIP 10.20.0.100 --+-- switch (a bridge)
rs1       10.20.0.11                --+
rs2       10.20.0.12                --+
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from onevip.lab.apache import Apache
from onevip.lab.namespace import LabError, Namespace, end, require_programs
from onevip.namespace import RUN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

DIRECTORY = RUN / "lab"
ONEVIP = (sys.executable, "-m", "onevip")
METHODS = ("gate", "masq", "ipip")

VIP = "10.20.0.100"
CLIENT = "10.20.0.1"
DIRECTOR = "10.20.0.10"
REAL_SERVERS = {"rs1": "10.20.0.11", "rs2": "10.20.0.12"}
#: Addresses by host; a MAC ends as the address does, which is easy to read in captures.
ADDRESSES = {"client": CLIENT, "director": DIRECTOR, **REAL_SERVERS}
MACS = {host: f"02:00:00:00:00:{int(ip.rpartition('.')[2]):02d}" for host, ip in ADDRESSES.items()}

#: Of every host: no IPv6 noise in captures; new namespaces inherit the machine's own settings.
QUIET = {
    "ipv6/conf/all/disable_ipv6": 1,
    "ipv6/conf/default/disable_ipv6": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/default/accept_redirects": 0,
    "ipv4/conf/all/arp_ignore": 0,
    "ipv4/conf/default/arp_ignore": 0,
    "ipv4/conf/all/arp_announce": 0,
    "ipv4/conf/default/arp_announce": 0,
    "ipv4/ip_forward": 0,
}
#: With masq in one LAN the director would tell the real servers to talk to the client directly.
NO_REDIRECTS = {"ipv4/conf/all/send_redirects": 0, "ipv4/conf/default/send_redirects": 0}

FALLBACK_PAGE = "this is the director"
PAGES = {"rs1": "this is real server 1", "rs2": "this is real server 2"}

LDIRECTORD_CF = """\
checktimeout=3
checkinterval=1
autoreload=yes
quiescent={quiescent}
virtual=10.20.0.100:80
        real=10.20.0.11:80 {method} 2 ".healthcheck.html","OKAY"
        real=10.20.0.12:80 {method} 2 ".healthcheck.html","OKAY"
        fallback=127.0.0.1:80 gate
        service=http
        checkport=80
        protocol=tcp
        scheduler=wrr
        checktype=negotiate
{check_path}"""
BY_VIP = "        checkpath=vip\n"


@dataclass(frozen=True, slots=True)
class Row:
    """A real server's line of `ipvsadm -L -n`."""

    real: str
    forward: str
    weight: int
    active: int
    inactive: int


def rows_of(listing: str) -> dict[str, Row]:
    """The real servers of a listing by their `address:port`."""
    rows = {}
    for line in listing.splitlines():
        match line.split():
            case ["->", real, forward, weight, active, inactive] if weight.isdigit():
                rows[real] = Row(real, forward, int(weight), int(active), int(inactive))
    return rows


@dataclass(slots=True)
class Cluster:
    """Built by `up`, gone after `down`; the same prefix is the same cluster.

    Everything that it runs lives in its namespaces, so a cluster whose maker was killed is taken
    down by the next `down` of that prefix.
    """

    method: str = "gate"
    prefix: str = "onevip-"
    door: str = "tc"
    web_servers: dict[str, Apache] = field(default_factory=dict, repr=False)
    daemon: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # Who is who.

    def host(self, name: str) -> Namespace:
        return Namespace(self.prefix + name)

    @property
    def client(self) -> Namespace:
        return self.host("client")

    @property
    def director(self) -> Namespace:
        return self.host("director")

    @property
    def directory(self) -> Path:
        return DIRECTORY / self.prefix.rstrip("-")

    @property
    def file(self) -> Path:
        """The director's ldirectord.cf."""
        return self.directory / "ldirectord.cf"

    @property
    def log(self) -> Path:
        """What the daemon said."""
        return self.directory / "onevip.log"

    # Up and down.

    def up(self) -> None:
        """Build it, web servers included; what an earlier one left is taken down first.

        Raises LabError and leaves nothing behind when that fails.
        """
        require_programs("ip", "apache2", "curl", *(["ethtool"] if self.door == "xdp" else []))
        self.down()
        try:
            self.directory.mkdir(parents=True)
            self._wire()
            self._start_web_servers()
            self._set_up_hosts()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Take everything down, whoever built it; Ctrl-C waits until that is done. Idempotent."""
        with uninterrupted():
            self._unload()
            for name in ("director", *REAL_SERVERS, "client", "switch"):
                self.host(name).remove()
            for server in self.web_servers.values():
                server.stop()
            self.web_servers.clear()
            self.stop_daemon()
            shutil.rmtree(self.directory, ignore_errors=True)
            with suppress(OSError):  # not empty, or not there
                DIRECTORY.rmdir()

    def _unload(self) -> None:
        """Let go of the programs and maps that are pinned for these namespaces.

        Those of a namespace that is gone would only be swept when another one is loaded.
        """
        undo = dict.fromkeys(REAL_SERVERS, ("real", "stop")) | {"director": ("detach", "--unload")}
        for name, argv in undo.items():
            if self.host(name).exists():
                with suppress(LabError):  # nothing loaded, or nothing that works
                    self.onevip(name, *argv)

    def exists(self) -> bool:
        return self.host("switch").exists()

    def _wire(self) -> None:
        switch = self.host("switch")
        switch.create()
        switch.sysctl(QUIET)
        switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
        for name, address in ADDRESSES.items():
            host = self.host(name)
            host.create()
            host.sysctl(QUIET | NO_REDIRECTS)
            switch.ip(
                f"link add {name} type veth peer name eth0 address {MACS[name]} netns {host.name}",
                f"link set {name} master br0 up",
            )
            host.ip("link set lo up", "link set eth0 up", f"address add {address}/24 dev eth0")
        if self.door == "xdp":
            # veth: the frames' checksums must be complete, and the peer must receive by NAPI.
            switch.run("ethtool", "-K", "director", "tx", "off", "gro", "on")

    def _start_web_servers(self) -> None:
        for name, page in {**PAGES, "director": FALLBACK_PAGE}.items():
            server = Apache(self.host(name), name, self.directory / name)
            server.write({"index.html": page, ".healthcheck.html": "OKAY"})
            server.start()
            self.web_servers[name] = server
        for server in self.web_servers.values():
            server.wait_until_ready()

    def _set_up_hosts(self) -> None:
        for name in REAL_SERVERS:
            self.onevip(name, "real", "start", "--vip", VIP, "--method", self.method)
            if self.method == "masq":
                # Replies pass the director; to a client of the same LAN they would go straight.
                self.host(name).ip(f"route add {CLIENT}/32 via {DIRECTOR}")
        method = ("--method", self.method)
        self.onevip("director", "director", "start", "--vip", VIP, "--dev", "eth0", *method)

    # The director at work.

    def onevip(self, host: str, *argv: str) -> str:
        """Run `onevip ARGV` on one host; what it printed."""
        return self.host(host).run(*ONEVIP, *argv)

    def listing(self) -> str:
        """The table as `onevip ipvsadm -L -n` prints it on the director."""
        return self.onevip("director", "ipvsadm", "-L", "-n")

    def rows(self) -> dict[str, Row]:
        return rows_of(self.listing())

    def write_file(self, *, quiescent: bool = True, by_vip: bool = False) -> str:
        """Write the director's ldirectord.cf; its text. A running daemon never sees half of it.

        `by_vip`: checks go to the VIP, by the way that clients' packets take.
        """
        text = LDIRECTORD_CF.format(
            method=self.method,
            quiescent="yes" if quiescent else "no",
            check_path=BY_VIP if by_vip else "",
        )
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(text)
        unfinished.replace(self.file)
        return text

    def start_daemon(self) -> None:
        """Start `onevip run` on the director; its log goes to `self.log`."""
        with self.log.open("ab") as log:
            self.daemon = self.director.start(*ONEVIP, "run", str(self.file), output=log)

    def attach_xdp(self) -> str:
        """Ask for the XDP door on the director's interface; what `attach` said."""
        return self.onevip("director", "attach", "eth0", "--door", "xdp")

    def stop_daemon(self) -> int:
        """TERM, as an administrator would; its exit status."""
        if self.daemon is None:
            return 0
        end([self.daemon.pid])
        status = self.daemon.wait()
        self.daemon = None
        return status

    def get(self, url: str = f"http://{VIP}/", *options: str) -> str:
        """One request by curl from the client, a new connection; the page without its newline."""
        return self.client.run(
            "curl", "-sSf", "--noproxy", "*", "--max-time", "3", *options, url
        ).rstrip("\n")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, TERM and HUP wait until the block has ended."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """TERM and HUP end the block as Ctrl-C does, so that clean-up runs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {sign: signal.signal(sign, interrupt) for sign in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def only_one(prefix: str) -> Iterator[None]:
    """Holds the lab of this prefix; raises LabError when another process does.

    By an abstract socket's name: it is free again when its holder is gone, and leaves no file.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        try:
            holder.bind(f"\0onevip-lab/{prefix}")
        except OSError:
            raise LabError(f"another process uses the lab of the prefix {prefix}") from None
        yield
