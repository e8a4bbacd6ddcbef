"""The media core: hears each caller with a detector and plays to it.

    python -m benchmarks.servers.core [--detector NAME] [--lead FRAMES] [--quiet]

Barge-in is off, since callers who talk all the time would silence the tone; the detector runs all the same. At SIGUSR1
it marks a beginning, at SIGTERM it prints a line of JSON with the lateness of its ticks since then, and what it did
about it in all, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import socket

import fastaudio
from benchmarks.servers.tone import BACKLOG, SOUND, many_files

SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


async def play(call: fastaudio.Call) -> None:
    try:
        while True:
            await call.play(SOUND)
    except fastaudio.EngineClosed:
        return


async def main(options: fastaudio.CallOptions, quiet: bool) -> None:
    """Serve until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    async with fastaudio.Engine(sock=listener, options=options, max_calls=8192) as engine, asyncio.TaskGroup() as group:
        marks = [engine.lateness()]
        loop.add_signal_handler(signal.SIGUSR1, lambda: marks.append(engine.lateness()))
        loop.add_signal_handler(signal.SIGTERM, stop.set)

        async def accept() -> None:
            async for call in engine:
                if not quiet:
                    group.create_task(play(call))

        acceptor = group.create_task(accept())
        print(engine.port, flush=True)
        await stop.wait()
        late = engine.lateness().since(marks[-1])
        counters = engine.counters()
        counted = {name: counters[name] for name in ("caught_up", "skipped", "stalls")}
        quantiles = {share: late.quantile_us(share) for share in SHARES}
        print(json.dumps({"ticks": late.ticks, "late_us": quantiles, **counted}))
        await engine.stop()
        await acceptor


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    default = fastaudio.CallOptions()
    parser.add_argument("--detector", default=default.detector)
    parser.add_argument("--lead", type=int, default=default.lead_frames)
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    many_files()
    call_options = dataclasses.replace(
        default,
        detector=given.detector,
        lead_frames=given.lead,
        barge_in=fastaudio.BargeInOptions(enabled=False),
    )
    asyncio.run(main(call_options, given.quiet))
