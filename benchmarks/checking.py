"""One round of section `checks`, in its network namespace: a thousand checks a second, timed.

Arguments: types of checks. Output: CPU microseconds of one of each and of the floor, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address

from onevip.health import Checker, Probed
from onevip.health.matcher import Matcher
from onevip.health.prober import attempt
from onevip.health.probes import PROBES
from onevip.health.tools import Tools
from onevip.model import Check, CheckType

SERVERS = 1000  # each checked once a second
WARM_UP_S = 1.5
MEASURED_S = 3.0
SERVER = """
import asyncio
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nOKAY"
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)
        self.transport.close()
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def address(number: int) -> IPv4Address:
    return IPv4Address("127.1.0.1") + number


async def floor(port: int) -> float:
    count = 0

    async def connect(to: str, delay_s: float) -> None:
        nonlocal count
        loop = asyncio.get_running_loop()
        await asyncio.sleep(delay_s)
        while True:
            with socket.socket() as connecting:
                connecting.setblocking(False)
                await loop.sock_connect(connecting, (to, port))
            count += 1
            await asyncio.sleep(1)

    tasks = [
        asyncio.create_task(connect(str(address(number)), number / SERVERS))
        for number in range(SERVERS)
    ]
    try:
        return await timed(lambda: count)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def checked(case: str, port: int) -> float:
    kind = CheckType.NEGOTIATE if case == "http" else CheckType(case)
    details = {"service": "http", "receive": "OKAY"} if case == "http" else {}
    matcher = Matcher()
    tools = Tools(matcher.search)
    count = 0

    def report(probed: Probed) -> None:
        nonlocal count
        count += 1
        if not probed.outcome.healthy:
            raise SystemExit(f"{case}: {probed.outcome.reason}")

    checker = Checker(partial(attempt, probes=PROBES, tools=tools), report)
    checker.watch(Check(kind, address(n), port, 5, 1, 5, **details) for n in range(SERVERS))  # type: ignore[arg-type]
    try:
        return await timed(lambda: count)
    finally:
        await checker.stop()
        await tools.close()
        await matcher.close()


async def timed(count: Callable[[], int]) -> float:
    """CPU microseconds for each that is counted meanwhile."""
    await asyncio.sleep(WARM_UP_S)
    before, started = count(), time.process_time()
    await asyncio.sleep(MEASURED_S)
    spent = time.process_time() - started
    done = count() - before
    if done < SERVERS * MEASURED_S * 0.5:
        raise SystemExit(f"only {done / MEASURED_S:.0f} a second instead of {SERVERS}")
    return spent / done * 1e6


def main(cases: list[str]) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        work: dict[str, Callable[[], Awaitable[float]]] = {"floor": partial(floor, port)}
        work |= {case: partial(checked, case, port) for case in cases}
        print(json.dumps({name: asyncio.run(_one(one)) for name, one in work.items()}))
    finally:
        server.kill()
        with suppress(OSError):
            server.wait()


async def _one(work: Callable[[], Awaitable[float]]) -> float:
    return await work()


if __name__ == "__main__":
    main(sys.argv[1:])
