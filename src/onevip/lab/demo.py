"""`onevip demo`: a Linux Virtual Server at work, narrated; every step is checked, not assumed.

Builds its own cluster for each forwarding method and takes it down again, whatever happens.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from onevip.lab.capture import Frame, capture
from onevip.lab.cluster import (
    ADDRESSES,
    CLIENT,
    DIRECTOR,
    FALLBACK_PAGE,
    MACS,
    METHODS,
    PAGES,
    REAL_SERVERS,
    VIP,
    Cluster,
    Row,
    interruptible,
    only_one,
)
from onevip.lab.namespace import LabError, require_programs
from onevip.lab.narration import Narrator

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "onevip-demo-"
#: checkinterval + checktimeout of the file: so long may a dead server keep its weight.
NOTICED_S = 4.0
READY_S = 10.0
POLL_S = 0.05

TITLES = {
    "gate": "gate · direct routing: only the MAC address changes",
    "masq": "masq · network address translation: both ways through the director",
    "ipip": "ipip · tunnelling: an outer IP header around the packet",
}
FORWARD = {"gate": "Route", "masq": "Masq", "ipip": "Tunnel"}


class NotObservedError(LabError):
    """The demo did not see what it announced."""


def run(argv: list[str]) -> int:
    """`onevip demo …`; its exit status: 0 when every step was observed."""
    arguments = parser().parse_args(argv)
    require_programs("ip", "apache2", "curl", "tcpdump")
    narrator = Narrator(sys.stdout)
    begin = time.monotonic()
    with only_one(arguments.prefix), interruptible():
        for method in arguments.method or METHODS:
            narrator.title(TITLES[method])
            try:
                Walkthrough(Cluster(method, arguments.prefix), narrator).play()
            except KeyboardInterrupt:
                narrator.say("\nInterrupted. Nothing is left.")
                raise
    narrator.say(
        f"\nEverything was observed, in {time.monotonic() - begin:.0f} s. Nothing is left."
    )
    narrator.say("Play with the same cluster: onevip lab up")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onevip demo", description="One VIP, two real servers, three ways of forwarding."
    )
    parser.add_argument(
        "--method", choices=METHODS, action="append", help="only this one (may be given again)"
    )
    parser.add_argument("--prefix", default=PREFIX, help="of the namespaces' names")
    return parser


def observe(seen: object, otherwise: str) -> None:
    """Raises NotObservedError with that sentence unless it was seen."""
    if not seen:
        raise NotObservedError(otherwise)


def eventually(seen: Callable[[], object], within_s: float, otherwise: str) -> float:
    """Wait until it is seen; how long that took. Raises NotObservedError when it takes longer."""
    begin = time.monotonic()
    while not seen():
        observe(time.monotonic() - begin < within_s, f"{otherwise}, after {within_s:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - begin


@dataclass(slots=True)
class Walkthrough:
    """The steps for one forwarding method, in order."""

    cluster: Cluster
    narrator: Narrator
    requests: int = field(default=0, init=False)

    def play(self) -> None:
        """Play all steps; the cluster is down afterwards."""
        try:
            self.build()
            self.start()
            self.find_the_director()
            self.balance()
            self.look_at_the_wire()
            if self.by_vip:
                self.lose_the_vip()
            self.lose_a_server()
            self.get_it_back()
            self.fall_back()
            self.reload()
            self.stop()
        except LabError:
            self.narrator.say()
            if self.cluster.log.exists():
                self.narrator.say("The daemon's last words:")
                for line in self.cluster.log.read_text().splitlines()[-15:]:
                    self.narrator.say(f"      {line}")
            raise
        finally:
            self.cluster.down()

    @property
    def by_vip(self) -> bool:
        """Whether checks take the clients' way: shown once."""
        return self.cluster.method == "gate"

    # The steps.

    def build(self) -> None:
        with self.narrator.step(
            "a client, a director, two real servers; Apache on the last three"
        ) as shown:
            self.cluster.up()
            hosts = [f"{name:<9} {ip:<12} {MACS[name]}" for name, ip in ADDRESSES.items()]
            shown.append("\n".join([*hosts, f"VIP       {VIP}"]))

    def start(self) -> None:
        with self.narrator.step(
            "onevip run ldirectord.cf: both real servers are checked: weight 2"
        ) as shown:
            shown.append(self.cluster.write_file(by_vip=self.by_vip))
            self.cluster.start_daemon()
            eventually(
                lambda: self.weights() == {"rs1": 2, "rs2": 2}, READY_S, "not both have weight 2"
            )

    def find_the_director(self) -> None:
        with self.narrator.step(
            f"the client's ARP entry for the VIP {VIP} is the director's MAC"
        ) as shown:
            self.get()
            entry = self.cluster.client.run("ip", "neigh", "show", VIP).strip()
            shown.append(entry)
            observe(f"lladdr {MACS['director']} " in entry, "somebody else answers for the VIP")

    def balance(self) -> None:
        with self.narrator.step("requests alternate between the real servers") as shown:
            pages = [self.get() for _ in range(6)]
            shown.extend(pages)
            observe(set(pages) == set(PAGES.values()), "not both served")
            observe(
                all(one != following for one, following in pairwise(pages)),
                "they do not alternate",
            )
        with self.narrator.step("the table: forwarding method, weight 2, connections") as shown:
            listing = self.cluster.listing()
            shown.append(listing)
            observe(f"TCP  {VIP}:80 wrr" in listing, "the service is not in the table")
            rows = [row for row in map(self.row, REAL_SERVERS) if row is not None]
            forward = FORWARD[self.cluster.method]
            observe({row.forward for row in rows} == {forward}, f"not all rows say {forward}")
            observe({row.weight for row in rows} == {2}, "a weight is not 2")
            counted = sum(row.active + row.inactive for row in rows)
            observe(
                counted == self.requests,
                f"{self.requests} connections were made, the table counts {counted}",
            )

    def look_at_the_wire(self) -> None:
        announcement = {
            "gate": "on the wire: only the MAC changes, the reply goes straight back",
            "masq": "on the wire: addresses are rewritten, the reply passes the director",
            "ipip": "on the wire: an outer header, the reply goes straight back",
        }
        with self.narrator.step(announcement[self.cluster.method]) as shown:
            web = f"host {CLIENT} and tcp port 80"
            with (
                capture(self.cluster.director, f"({web}) or ip proto 4") as at_director,
                capture(self.cluster.client, web) as at_client,
            ):
                page = self.get()
            server = next((name for name in PAGES if PAGES[name] == page), None)
            observe(server, f"no real server served: {page!r}")
            assert server is not None
            CHECKS[self.cluster.method](server, at_director, at_client, shown)

    def lose_the_vip(self) -> None:
        with self.narrator.step(
            "real server 1 loses the VIP: seen by checkpath=vip alone"
        ) as shown:
            server = self.cluster.host("rs1")
            server.ip(f"address delete {VIP}/32 dev lo")
            took = eventually(
                lambda: self.weights() == {"rs1": 0, "rs2": 2},
                READY_S,
                "real server 1 keeps its weight",
            )
            own = self.cluster.director.run("curl", "-sSf", f"http://{REAL_SERVERS['rs1']}/")
            observe(own.strip() == PAGES["rs1"], "it does not answer at its own address either")
            shown.append(
                f"noticed after {took:.1f} s; at {REAL_SERVERS['rs1']} it still says {own}"
            )
            shown.append(self.words_about(f"not at {VIP}"))
            server.ip(f"address add {VIP}/32 dev lo")
            eventually(
                lambda: self.weights() == {"rs1": 2, "rs2": 2}, READY_S, "it gets no weight again"
            )

    def lose_a_server(self) -> None:
        with self.narrator.step(
            "Apache on real server 1 stops: weight 0, and no request fails after that"
        ) as shown:
            self.cluster.web_servers["rs1"].stop()
            took = eventually(
                lambda: self.weights().get("rs1") == 0, NOTICED_S, "real server 1 keeps its weight"
            )
            pages = [self.get() for _ in range(20)]
            observe(set(pages) == {PAGES["rs2"]}, "not every request went to real server 2")
            shown.append(f"noticed after {took:.1f} s; 20 requests, 20 × {pages[0]!r}")
            shown.append(self.cluster.listing())

    def get_it_back(self) -> None:
        with self.narrator.step("it starts again: weight 2, and it serves") as shown:
            self.cluster.web_servers["rs1"].start()
            self.cluster.web_servers["rs1"].wait_until_ready()
            took = eventually(
                lambda: self.weights().get("rs1") == 2, READY_S, "it gets no weight again"
            )
            pages = [self.get() for _ in range(4)]
            observe(set(pages) == set(PAGES.values()), f"not both serve: {pages}")
            shown.append(f"weight 2 after {took:.1f} s; {', '.join(map(repr, pages[:2]))}")

    def fall_back(self) -> None:
        with self.narrator.step("both stop: the director itself answers, the fallback") as shown:
            for name in REAL_SERVERS:
                self.cluster.web_servers[name].stop()
            eventually(
                lambda: self.weights() == {"rs1": 0, "rs2": 0} and "127.0.0.1:80" in self.table(),
                READY_S,
                "the fallback server is not in the table",
            )
            pages = [self.get() for _ in range(3)]
            observe(set(pages) == {FALLBACK_PAGE}, f"another page: {pages}")
            shown.append(repr(pages[0]))
            shown.append(self.cluster.listing())

    def reload(self) -> None:
        with self.narrator.step(
            "quiescent=no in the file: reloaded, the dead leave the table"
        ) as shown:
            self.cluster.write_file(quiescent=False, by_vip=self.by_vip)
            took = eventually(lambda: not self.weights(), READY_S, "they stay in the table")
            shown.append(f"gone after {took:.1f} s")
            self.cluster.web_servers["rs2"].start()
            self.cluster.web_servers["rs2"].wait_until_ready()
            eventually(
                lambda: self.weights() == {"rs2": 2} and "127.0.0.1:80" not in self.table(),
                READY_S,
                "real server 2 does not come back",
            )
            observe(self.get() == PAGES["rs2"], "real server 2 does not serve")
            shown.append(self.cluster.listing())

    def stop(self) -> None:
        with self.narrator.step("TERM: the daemon ends and its service leaves the table"):
            status = self.cluster.stop_daemon()
            observe(status == 0, f"its exit status is {status}")
            observe(VIP not in self.cluster.listing(), "the service is still in the table")

    # What they look at.

    def words_about(self, what: str) -> str:
        """The daemon's last line that says so, without its date."""
        said = [line for line in self.cluster.log.read_text().splitlines() if what in line]
        observe(said, f"the daemon says nothing of {what!r}")
        return said[-1].partition("]: ")[2]

    def get(self) -> str:
        self.requests += 1
        return self.cluster.get()

    def table(self) -> dict[str, Row]:
        return self.cluster.rows()

    def row(self, server: str) -> Row | None:
        return self.table().get(f"{REAL_SERVERS[server]}:80")

    def weights(self) -> dict[str, int]:
        """The weight of each real server that is in the table, by its name."""
        rows = self.table()
        keys = {name: f"{address}:80" for name, address in REAL_SERVERS.items()}
        return {name: rows[key].weight for name, key in keys.items() if key in rows}


# The wire: which frames each forwarding method must and must not show.


def find(frames: list[Frame], what: str, **wanted: object) -> Frame:
    """The first frame with these attributes; raises NotObservedError when there is none."""
    for frame in frames:
        if all(getattr(frame, name) == value for name, value in wanted.items()):
            return frame
    seen = "\n".join(map(str, frames)) or "nothing"
    raise NotObservedError(f"not captured: {what}. Captured:\n{seen}")


def arriving(at_director: list[Frame]) -> Frame:
    """The client's SYN as it reaches the director."""
    return find(
        at_director,
        "the client's SYN to the director",
        source_mac=MACS["client"],
        target_mac=MACS["director"],
        flags="S",
    )


def check_gate(
    server: str, at_director: list[Frame], at_client: list[Frame], shown: list[str]
) -> None:
    first = arriving(at_director)
    forwarded = find(
        at_director,
        "the same packet to the real server's MAC",
        source_mac=MACS["director"],
        target_mac=MACS[server],
        headers=first.headers,
        flags="S",
    )
    reply = straight_reply(server, first, at_director, at_client)
    shown.append(f"client to director    {first}")
    shown.append(f"director to {server}       {forwarded}")
    shown.append(f"{server} to client         {reply}")


def check_masq(
    server: str, at_director: list[Frame], at_client: list[Frame], shown: list[str]
) -> None:
    first = arriving(at_director)
    client, vip = first.inner
    real = f"{REAL_SERVERS[server]}.80"
    forwarded = find(
        at_director,
        "the packet rewritten to the real server's address",
        target_mac=MACS[server],
        headers=((client, real),),
        flags="S",
    )
    returned = find(
        at_director,
        "the reply on its way through the director",
        source_mac=MACS[server],
        target_mac=MACS["director"],
        headers=((real, client),),
        flags="S.",
    )
    reply = find(
        at_client,
        "the reply from the VIP by the director",
        source_mac=MACS["director"],
        headers=((vip, client),),
        flags="S.",
    )
    shown.append(f"client to director    {first}")
    shown.append(f"director to {server}       {forwarded}")
    shown.append(f"{server} to director       {returned}")
    shown.append(f"director to client    {reply}")


def check_ipip(
    server: str, at_director: list[Frame], at_client: list[Frame], shown: list[str]
) -> None:
    first = arriving(at_director)
    outer = (DIRECTOR, REAL_SERVERS[server])
    tunnelled = find(
        at_director,
        "the packet inside an outer header to the real server",
        source_mac=MACS["director"],
        target_mac=MACS[server],
        headers=(outer, first.inner),
        flags="S",
    )
    reply = straight_reply(server, first, at_director, at_client)
    shown.append(f"client to director    {first}")
    shown.append(f"director to {server}       {tunnelled}")
    shown.append(f"{server} to client         {reply}")


def straight_reply(
    server: str, first: Frame, at_director: list[Frame], at_client: list[Frame]
) -> Frame:
    """The SYN-ACK from the real server's MAC, which the director has not seen."""
    client, vip = first.inner
    reply = find(
        at_client,
        "the reply straight from the real server",
        source_mac=MACS[server],
        headers=((vip, client),),
        flags="S.",
    )
    observe(
        all(frame.inner != (vip, client) for frame in at_director), "the reply passed the director"
    )
    return reply


CHECKS = {"gate": check_gate, "masq": check_masq, "ipip": check_ipip}
