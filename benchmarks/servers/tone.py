"""What the Python servers play, and how they begin. Standard library alone: a peer's own environment has no more."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

TONE = struct.pack("<8000h", *(round(8000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000)))
"""A second of 440 Hz at 8 kHz, a whole number of periods."""
SOUND = Path(os.environ["BENCH_SOUND"]).read_bytes() if "BENCH_SOUND" in os.environ else TONE
"""What is played again and again: whole frames of 16-bit PCM at 8 kHz, from a file when the environment names one."""
FRAME_BYTES = 320
FRAMES = [SOUND[at : at + FRAME_BYTES] for at in range(0, len(SOUND), FRAME_BYTES)]
BACKLOG = 1024


def many_files() -> None:
    """Let this process open as many files as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Serve each connection on a port of 127.0.0.1, which is printed, until the process is ended."""

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=BACKLOG, family=socket.AF_INET)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    many_files()
    asyncio.run(main())
