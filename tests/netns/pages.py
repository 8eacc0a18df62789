"""Real servers of one page, on port 80 of the addresses given; for tests to run in a namespace.

`pages.py DIRECTORY ADDRESS…`: an address whose name is a file in the directory answers 503.
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DIRECTORY, *ADDRESSES = sys.argv[1:]


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_down = (Path(DIRECTORY) / str(self.server.server_address[0])).exists()
        self.send_response(503 if is_down else 200)
        self.end_headers()
        self.wfile.write(b"away\n" if is_down else b"served\n")

    def log_message(self, *_: object) -> None:
        """Silent."""


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A check that closes early is none."""


for address in ADDRESSES:
    threading.Thread(target=Server((address, 80), Page).serve_forever).start()
print("ready", flush=True)
