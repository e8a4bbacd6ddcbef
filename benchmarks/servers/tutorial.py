"""The way of the tutorials: asyncio, a task that reads a header and a payload, one that writes and sleeps 20 ms."""

from __future__ import annotations

import asyncio
from itertools import cycle

from benchmarks.servers.tone import FRAMES, run


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def talk() -> None:
        for frame in cycle(FRAMES):
            writer.write(b"\x10\x01\x40" + frame)
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


if __name__ == "__main__":
    run(serve)
