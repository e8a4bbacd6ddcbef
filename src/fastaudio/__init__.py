"""The compiled media core of a voice agent: AudioSocket, the 20 ms clock, playback, capture and barge-in.

An echo server with barge-in:

    import asyncio, contextlib, fastaudio

    async def echo(call):
        with contextlib.suppress(fastaudio.EngineClosed):  # the caller has hung up
            async for batch in call.capture(batch_ms=20):
                await call.play(batch.caller)

    async def main():
        async with fastaudio.Engine(port=9099) as engine, asyncio.TaskGroup() as calls:
            async for call in engine:
                calls.create_task(echo(call))

    asyncio.run(main())
"""

try:
    from fastaudio._core import END_REASONS, ProxyHeader, rms
except ImportError as error:  # pragma: no cover - what a source tree without a build says
    raise ImportError(
        "fastaudio's compiled core is missing: install the wheel (pip install fastaudio-agent), or in a source "
        "tree run make build"
    ) from error

from fastaudio.call import Call, Event, EventKind, Played, Utterance
from fastaudio.capture import Batch, CaptureReader, CaptureStream
from fastaudio.detector import BargeInDetector
from fastaudio.engine import Engine
from fastaudio.errors import EngineBusy, EngineClosed, FastAudioError, ProtocolError, StaleGeneration
from fastaudio.lateness import Lateness
from fastaudio.options import TICK_MS, BargeInOptions, CallOptions, Rate

__all__ = [
    "END_REASONS",
    "TICK_MS",
    "BargeInDetector",
    "BargeInOptions",
    "Batch",
    "Call",
    "CallOptions",
    "CaptureReader",
    "CaptureStream",
    "Engine",
    "EngineBusy",
    "EngineClosed",
    "Event",
    "EventKind",
    "FastAudioError",
    "Lateness",
    "Played",
    "ProtocolError",
    "ProxyHeader",
    "Rate",
    "StaleGeneration",
    "Utterance",
    "rms",
]
