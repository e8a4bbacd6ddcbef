"""The servers of this repository that are disturbed: `python -m benchmarks.stalls.serve core-2 SPEECH.raw`.

Each prints its port, plays the file once to one caller, and prints as JSON what it counted when the caller hangs up.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import fastaudio

COUNTED = ("caught_up", "skipped", "stalls", "late_max_ns")
FRAME_BYTES = 320


async def core(pcm: bytes, lead: int) -> None:
    """The media core; the caller is not listened to, so that nothing of the speech is held."""
    options = fastaudio.CallOptions(lead_frames=lead, barge_in=fastaudio.BargeInOptions(enabled=False))
    async with fastaudio.Engine(port=0, options=options) as engine:
        print(engine.port, flush=True)
        call = await engine.accept()
        utterance = call.begin()
        await utterance.play(pcm)
        await utterance.end()
        await call.wait_ended()
        counters = call.counters()
        print(json.dumps({name: counters[name] for name in COUNTED}), flush=True)


async def tutorial(pcm: bytes) -> None:
    """The way of published tutorials: a task that reads, and one that writes a frame and sleeps 20 ms."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def talk() -> None:
            for at in range(0, len(pcm), FRAME_BYTES):
                writer.write(b"\x10\x01\x40" + pcm[at : at + FRAME_BYTES])
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
            over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over.wait()
    print("{}", flush=True)


SERVERS: dict[str, Callable[[bytes], Awaitable[None]]] = {
    "core-0": lambda pcm: core(pcm, 0),
    "core-2": lambda pcm: core(pcm, 2),
    "asyncio": tutorial,
}


async def main(server: str, pcm: bytes) -> None:
    """Runs one of them."""
    await SERVERS[server](pcm)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
