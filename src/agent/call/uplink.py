"""The caller's audio on its way to the STT: while the agent listens, and from the first sign of an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import fastaudio
from agent.providers.base import SpeechToText

BATCH_MS = 80  # what Deepgram advises, and a quarter of the cost of single frames
TAIL_MS = 40  # of the silence behind speech, in which the STT judges whether the turn is over


class Uplink:
    """Feeds one STT from one call. While closed, the STT hears nothing and its client keeps the connection alive."""

    def __init__(
        self, call: fastaudio.Call, stt: SpeechToText, on_audio: Callable[[bytes], None] = lambda pcm: None
    ) -> None:
        """`on_audio` is given what the STT is given, as it comes."""
        self._call = call
        self._stt = stt
        self._on_audio = on_audio
        self._stream: fastaudio.CaptureStream | None = None
        self._opened = asyncio.Event()
        self._heard_to = 0  # the first block that the STT has not heard
        self.lost_ms = 0

    def open(self, preroll_ms: int) -> None:
        """Let the STT hear, from `preroll_ms` ago on; what it has heard already is not sent again."""
        if self._stream is None and not self._call.ended:
            self._stream = self._call.capture(batch_ms=BATCH_MS, preroll_ms=preroll_ms)
            self._opened.set()

    def hurry(self, quick: bool) -> None:
        """Send the silence behind speech in smaller pieces: what waits to be sent cannot be judged."""
        if self._stream is not None:
            self._stream.resize(TAIL_MS if quick else BATCH_MS)

    def close(self) -> None:
        """The STT hears nothing more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def run(self) -> None:
        """Carry audio until the call ends."""
        while not self._call.ended:
            self._opened.clear()
            if self._stream is None:
                await self._opened.wait()
            stream = self._stream
            if stream is None:
                continue
            async for batch in stream:
                skip = max(0, self._heard_to - batch.position)
                blocks = len(batch.flags)
                if skip < blocks:
                    frame = len(batch.caller) // blocks
                    position = batch.position + skip
                    pcm = batch.caller[skip * frame :]
                    self._stt.hear(position * fastaudio.TICK_MS, pcm)
                    self._on_audio(pcm)
                    self._heard_to = batch.position + blocks
            self.lost_ms += stream.lost * fastaudio.TICK_MS
            if self._stream is stream:
                self._stream = None
