"""An HTTP server that answers with the status that stands in a file: `python web.py HOST PORT
FILE`. "gone": it closes the connection."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def main(host: str, port: int, file: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = file.read_text().strip()  # noqa: ASYNC240 - a few bytes
        if answer != "gone":
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
