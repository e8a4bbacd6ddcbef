"""One context of Cartesia's WebSocket: text that is buffered, spoken in order, and expires.

Source: Cartesia's pages on contexts, continuations, buffering, flushing and cancelling (2026).
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from agent.sandbox.cartesia_request import Generation, RequestError, error_event
from agent.sandbox.config import CartesiaConfig
from agent.sandbox.control import Control, FaultySocket
from agent.speech_engines import Speech, Voice, audio

_ENOUGH = re.compile(r"[.!?…]['\"”’)]*\s*$")
"""Text that is enough for good prosody: it ends a sentence. Managed buffering then waits no longer."""
_WAITING_JOBS = 256


@dataclass(frozen=True, slots=True)
class _Job:
    """Text to speak, and what to say when it is spoken."""

    text: str
    flush_done: bool
    done: bool


class _Broken(Exception):
    """The context has ended with an error, as the faults ask for."""


class Context:
    """Text comes in by `submit`; a task speaks it and sends the events.

    `on_end(context, how)` is called once, with how it ended when its id must not be used again: "expired",
    "been cancelled" or "been ended by an error"; otherwise with an empty text.
    """

    def __init__(
        self,
        first: Generation,
        out: FaultySocket,
        control: Control[CartesiaConfig],
        voice: Voice,
        pool: Executor,
        on_end: Callable[[Context, str], None],
    ) -> None:
        self.id = first.context_id
        self.active = True
        """Whether it counts against the concurrency limit: until its text so far is spoken."""
        self._first = first
        self._out = out
        self._control = control
        self._voice = voice
        self._pool = pool
        self._on_end = on_end
        self._finishing = False
        config = control.config
        self._buffer_s = (config.default_buffer_ms if first.buffer_ms is None else first.buffer_ms) / 1000
        self._buffer = ""
        self._release: asyncio.TimerHandle | None = None
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(_WAITING_JOBS)
        self._flush_id = 1
        self._spoken_s = 0.0
        self._sent_ms = 0.0
        faults = control.faults
        self._mute_at_ms = faults.mute_after_ms if faults.take("mute") else None
        self._error_at_ms = faults.context_error_after_ms if faults.take("context_error") else None
        self._task = asyncio.create_task(self._run(), name=f"cartesia-context-{self.id}")

    def check(self, message: Generation) -> None:
        """Raise `RequestError` unless `message` may follow in this context."""
        if self._finishing:
            raise RequestError("The context has got its last text (continue: false) or a cancel.", self.id)
        fixed = self._first.fixed
        names = [name for name in fixed | message.fixed if fixed.get(name) != message.fixed.get(name)]
        if names:
            raise RequestError(
                f"All fields but transcript and continue must be equal within a context; {', '.join(names)} differs.",
                self.id,
            )
        if self._jobs.qsize() >= _WAITING_JOBS - 1:
            raise RequestError("Too much text waits in this context.", self.id)

    def submit(self, message: Generation) -> None:
        """Add text. It is spoken when the buffer's rules let it go."""
        self.active = True
        self._buffer += message.transcript
        self._finishing = not message.more
        if message.flush or self._finishing:
            self._let_go(flush_done=message.flush, done=self._finishing)
        elif self._buffer_s == 0:
            # An own clause at a time: each submission is answered by a flush_done of its own.
            self._let_go(flush_done=True, done=False)
        elif _ENOUGH.search(self._buffer):
            self._let_go(flush_done=False, done=False)
        elif self._buffer and self._release is None:
            self._control.count("texts_held_back")
            self._release = asyncio.get_running_loop().call_later(self._buffer_s, self._released)

    def cancel(self) -> None:
        """Drop what has not begun; the generation that runs streams on to its end."""
        self._buffer = ""
        self._stop_timer()
        while not self._jobs.empty():
            self._jobs.get_nowait()
            self._control.count("generations_dropped")
        self._finishing = True
        self._jobs.put_nowait(None)

    async def stop(self) -> None:
        """End at once: the connection is gone."""
        self._stop_timer()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _released(self) -> None:
        self._release = None
        self._let_go(flush_done=False, done=False)

    def _let_go(self, *, flush_done: bool, done: bool) -> None:
        self._stop_timer()
        text, self._buffer = self._buffer, ""
        if text.strip() or flush_done or done:
            self._jobs.put_nowait(_Job(text, flush_done, done))

    def _stop_timer(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None

    async def _run(self) -> None:
        """Speak job after job; a second after the last audio, with nothing more to do, the context expires."""
        expiry: float | None = None
        how = ""
        try:
            while True:
                try:
                    job = await asyncio.wait_for(self._jobs.get(), None if self._waiting() else expiry)
                except TimeoutError:
                    if self._waiting():
                        continue
                    self._control.count("contexts_expired")
                    how = "expired"
                    return
                if job is None:
                    self._control.count("contexts_cancelled")
                    how = "been cancelled"
                    return
                await self._perform(job)
                expiry = self._control.config.context_expiry_s
                self.active = not self._jobs.empty() or self._waiting()
                if job.done:
                    await self._send(self._event("done", done=True), end_marker=True)
                    return
        except _Broken:
            how = "been ended by an error"
        finally:
            self.active = False
            self._on_end(self, how)

    def _waiting(self) -> bool:
        """Whether text is in the buffer, so that audio is still to come."""
        return self._release is not None

    async def _perform(self, job: _Job) -> None:
        if job.text.strip():
            self._control.count("generations")
            self._control.count("characters", len(job.text))
            loop = asyncio.get_running_loop()
            begun = loop.time()
            speech = await loop.run_in_executor(self._pool, self._voice.speak, job.text, self._first.sample_rate)
            ready = begun + self._control.dice.seconds(self._control.config.first_audio)
            await asyncio.sleep(ready - loop.time())
            await self._stream(speech)
        if job.flush_done:
            await self._send(self._event("flush_done", flush_done=True, flush_id=self._flush_id))
            self._flush_id += 1

    async def _stream(self, speech: Speech) -> None:
        """Send the audio in chunks at the pace of the settings, by deadlines from the first chunk on."""
        config, loop = self._control.config, asyncio.get_running_loop()
        if self._first.timestamps and speech.words:
            times = {
                "words": [word.text for word in speech.words],
                "start": [round(self._spoken_s + word.start, 3) for word in speech.words],
                "end": [round(self._spoken_s + word.end, 3) for word in speech.words],
            }
            await self._send(self._event("timestamps", word_timestamps=times))
        size = speech.sample_rate * config.chunk_ms // 1000
        begun = loop.time()
        for start in range(0, len(speech.samples), size):
            pause = begun + start / speech.sample_rate / config.speed - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            data = audio.encode(speech.samples[start : start + size], self._first.encoding)
            step_ms = round((loop.time() - begun) * 1000, 3)
            await self._send(
                self._event("chunk", data=base64.b64encode(data).decode(), step_time=step_ms, flush_id=self._flush_id),
                audio_ms=1000 * len(speech.samples[start : start + size]) / speech.sample_rate,
            )
        self._spoken_s += speech.seconds

    async def _send(self, event: dict[str, Any], *, end_marker: bool = False, audio_ms: float = 0.0) -> None:
        """Send an event, or do what the faults ask of this context. Raises `_Broken` when that is its end."""
        if self._error_at_ms is not None and self._sent_ms >= self._error_at_ms:
            faults = self._control.faults
            self._control.count("contexts_broken")
            error = error_event(
                faults.context_error_status, faults.context_error_code, "By the sandbox's faults.", self.id
            )
            await self._out.send(error)
            raise _Broken
        if self._mute_at_ms is not None and self._sent_ms >= self._mute_at_ms:
            self._control.count("messages_withheld")
            return
        await self._out.send(event, end_marker=end_marker, audio_ms=audio_ms)
        self._sent_ms += audio_ms

    def _event(self, kind: str, *, done: bool = False, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "context_id": self.id, "done": done, "status_code": 206, **fields}
