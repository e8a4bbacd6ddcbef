"""A program that the tests of recordings start: one call that is recorded, in a process that is killed or cut short.

`python recording_call.py FILE SECONDS END [BYTES]`: END is "kill" (SIGKILL in the middle of the call) or "hang up";
BYTES is how large a file may become. At the end it prints what became of the recording, and how much was received.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import uuid
from pathlib import Path

import fastaudio
from agent.ops.recording import record

RATE = 8000


def tone(block: int) -> bytes:
    """A block of 20 ms, each with another level."""
    return b"".join((block * 40 + 7 * at % 97).to_bytes(2, "little", signed=True) for at in range(RATE // 50))


async def main(path: Path, seconds: float, end: str) -> None:
    async with fastaudio.Engine(port=0) as engine:
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
        call = await anext(aiter(engine))
        draining = asyncio.get_running_loop().create_task(reader.read(-1))
        recording = asyncio.create_task(record(call, path))
        for block in range(round(seconds * 50)):
            writer.write(b"\x10\x01\x40" + tone(block))
            await asyncio.sleep(0.02)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        writer.close()
        recorded = await recording
        counters = call.counters()
        await draining
        print(recorded.failed or "whole", counters["frames_in"], flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
