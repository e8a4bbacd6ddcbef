"""Tools: the test servers `echo` and `tone`; `load`, many callers at once; `bargein`, a detector on a recording."""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import functools
import math
import signal
import sys

import fastaudio
from fastaudio import bargein_command, load_command

TONE_HZ = 440
TONE_PEAK = 8000  # -12 dBFS


async def echo(call: fastaudio.Call) -> None:
    """Play the caller back, one frame after it came."""
    with contextlib.suppress(fastaudio.EngineClosed):  # the caller has hung up, and a batch was left
        async for batch in call.capture(batch_ms=20, preroll_ms=200):  # what told the rate had come before
            await call.play(batch.caller)


@functools.cache  # at 192 kHz it takes a while, and each call wants it
def tone_second(rate: int) -> bytes:
    """One second of a sine of 440 Hz: a whole number of periods, so that seconds join without a click."""
    samples = (round(TONE_PEAK * math.sin(2 * math.pi * TONE_HZ * i / rate)) for i in range(rate))
    return array.array("h", samples).tobytes()


async def tone(call: fastaudio.Call) -> None:
    """Play a continuous sine until the caller hangs up."""
    second = tone_second(call.rate)
    with contextlib.suppress(fastaudio.EngineClosed):
        while True:
            await call.play(second)


async def serve(kind: str, host: str, port: int) -> None:
    """Answer every call with `kind`, at the rate of its caller, until a signal."""
    barge_in = fastaudio.BargeInOptions(enabled=False)
    options = fastaudio.CallOptions(rate=None, detector="rms", barge_in=barge_in)
    handler = echo if kind == "echo" else tone
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with fastaudio.Engine(host, port, options=options) as engine:
        print(
            f"{kind} on {host}:{engine.port}; in the dialplan: AudioSocket(${{UUID()}},{host}:{engine.port})",
            flush=True,
        )
        async with asyncio.TaskGroup() as group:

            async def answer(call: fastaudio.Call) -> None:
                print(f"call {call.uuid} from {call.peer[0]}, {call.rate} Hz", flush=True)
                await handler(call)
                reason = await call.wait_ended()
                seconds = call.counters()["frames_out"] / 50
                print(f"call {call.uuid} ended: {reason}, after {seconds:.1f} s", flush=True)

            async def accept() -> None:
                async for call in engine:
                    group.create_task(answer(call), name=f"call {call.uuid}")

            acceptor = group.create_task(accept(), name="accept")
            await stop.wait()
            await engine.stop()
            await acceptor


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m fastaudio", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for kind, what in (("echo", "play the caller back"), ("tone", "play a sine of 440 Hz")):
        server = commands.add_parser(kind, help=what, description=f"A server for a dialplan: {what}.")
        server.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
        server.add_argument("--port", type=int, default=9099, help="TCP port (default %(default)s)")
    caller = commands.add_parser("load", help="call a server many times at once, and time what it sends")
    load_command.add_options(caller)
    judge = commands.add_parser("bargein", help="what a barge-in detector makes of a recording")
    bargein_command.add_options(judge)
    arguments = parser.parse_args()
    if arguments.command == "bargein":
        return bargein_command.main(arguments)
    if arguments.command == "load":
        return load_command.main(arguments)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port is 0 to 65535, not {arguments.port}")
    try:
        asyncio.run(serve(arguments.command, arguments.host, arguments.port))
    except OSError as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
