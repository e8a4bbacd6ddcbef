"""A caller's side of an STT client: what was sent to it and what came of it, with the emulated vendor behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from agent.providers.base import SpeechToText, SttEvent, SttLost, Transcript, bytes_a_ms
from agent.speech_engines.tones import ToneVoice

KEY = "dg-secret-key"
BYTES_A_MS = bytes_a_ms(8000)
QUIET = bytes(80 * BYTES_A_MS)


def tones(text: str) -> bytes:
    return ToneVoice().speak(text, 8000).samples.astype("<i2").tobytes()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    limit = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < limit, "it did not happen"
        await asyncio.sleep(0.01)


class Line:
    """A stream and what came of it."""

    def __init__(self, stt: SpeechToText) -> None:
        self.stt: Any = stt
        self.events: list[SttEvent] = []
        self.at_ms = 0
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.stt.events():
            self.events.append(event)

    def hear(self, pcm: bytes, at_ms: int | None = None) -> None:
        """Send audio in 80 ms pieces, as the agent does."""
        self.at_ms = self.at_ms if at_ms is None else at_ms
        for start in range(0, len(pcm), len(QUIET)):
            piece = pcm[start : start + len(QUIET)]
            self.stt.hear(self.at_ms, piece)
            self.at_ms += len(piece) // BYTES_A_MS

    def silence(self, ms: int) -> None:
        self.hear(bytes(ms * BYTES_A_MS))

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        await until(condition, seconds)

    def finals(self) -> list[Transcript]:
        return [event for event in self.events if isinstance(event, Transcript) and event.final and event.text]

    def lost(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, SttLost)]

    async def close(self) -> None:
        await self.stt.close()
        async with asyncio.timeout(2):
            await self._task


@asynccontextmanager
async def line(stt: SpeechToText) -> AsyncIterator[Line]:
    await stt.connect()
    running = Line(stt)
    try:
        yield running
    finally:
        await running.close()


@asynccontextmanager
async def a_server(path: str, handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """A vendor of the test's own; yields its base URL."""
    app = web.Application()
    app.router.add_get(path, handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
