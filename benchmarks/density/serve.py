"""The Python servers that are compared: `core` (this package) and `asyncio` (as published tutorials do it).

Each prints its port on a line of its own and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys

SECOND = struct.pack("<8000h", *(round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000)))
FRAME = b"\x10\x01\x40" + SECOND[:320]


async def core() -> None:
    """Both ways: the default detector hears the caller, and a tone plays without end.

    Barge-in is off, since the callers' speech would silence the tone; the detector runs all the same.
    """
    import fastaudio

    async def play(call: fastaudio.Call) -> None:
        try:
            while True:
                await call.play(SECOND)
        except fastaudio.EngineClosed:
            return

    options = fastaudio.CallOptions(barge_in=fastaudio.BargeInOptions(enabled=False))
    async with fastaudio.Engine(port=0, options=options) as engine, asyncio.TaskGroup() as group:
        print(engine.port, flush=True)
        async for call in engine:
            group.create_task(play(call))


async def plain() -> None:
    """The way of the tutorials: a task that reads a header and a payload, and one that writes and sleeps 20 ms."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def talk() -> None:
            while True:
                writer.write(FRAME)
                await writer.drain()
                await asyncio.sleep(0.02)

        talking = asyncio.create_task(talk())
        try:
            while True:
                header = await reader.readexactly(3)
                await reader.readexactly(int.from_bytes(header[1:], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            talking.cancel()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024, family=socket.AF_INET)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run({"core": core, "asyncio": plain}[sys.argv[1]]())
