"""The STT of last resort: Moonshine on this very machine, for calls that no vendor hears (the extra `[local]`).

One model serves all calls, on one thread of its own, which lets go of the GIL while it computes. It hears English, 18
times as fast as people speak, so it serves some calls and not hundreds: how many is a setting, and one more is refused.
Where speech begins and ends is told by its energy; the silence of `endpointing_s` ends an utterance.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from agent.providers.base import HeardWord, ProviderError, SttAway, SttLost, Transcript, UtteranceEnd
from agent.providers.breaker import Breaker
from agent.providers.metering import METER
from agent.providers.stt_stream import SttStream
from agent.speech_engines import Recogniser, load_recogniser
from agent.speech_engines.listener import Event, Listener, Listening, Result, SpeechStarted

log = logging.getLogger(__name__)

NAME = "local STT"
LOAD_S = 6.0
"""For so long a call waits for the model; it goes on being loaded for the next one (20 s the first time ever)."""
INTERIM_S = 0.6
LONGEST_FINAL_S = 12.0
SILENCE_FINAL_S = 2.0
LEAST_FINAL_S = 0.1
"""Of audio; with less there is no final text to ask for."""


class LocalEars:
    """The recogniser of all calls of a process; close it. One event loop owns it."""

    def __init__(self, max_calls: int, load: Callable[[], Recogniser] = lambda: load_recogniser("moonshine")) -> None:
        """`max_calls` at once; `load` blocks and runs once, on the thread that also recognises."""
        self._max_calls = max_calls
        self._load = load
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="stt-local", initializer=_step_back)
        self._recogniser: Future[Recogniser] | None = None
        self.calls = 0
        """That are heard now."""

    @property
    def full(self) -> bool:
        """Whether it takes no further call."""
        return self.calls >= self._max_calls

    def prepare(self) -> Future[Recogniser]:
        """Begin to load the model, if that is still to be done."""
        if self._recogniser is None or (self._recogniser.done() and self._recogniser.exception() is not None):
            self._recogniser = self.pool.submit(self._load)
        return self._recogniser

    async def admit(self) -> Recogniser:
        """Take a call; `leave` is to follow. Raises `ProviderError` when there is no model, or not yet."""
        self.calls += 1
        try:
            async with asyncio.timeout(LOAD_S):
                return await asyncio.shield(asyncio.wrap_future(self.prepare()))
        except TimeoutError:
            self.leave()
            raise ProviderError(NAME, "is still being loaded") from None
        except Exception as error:
            self.leave()
            raise ProviderError(NAME, f"cannot be loaded: {error}") from error
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """A call is over, or somebody else's."""
        self.calls -= 1

    async def close(self) -> None:
        """Let go of the thread; what it computes just now is waited for."""
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: self.pool.shutdown(wait=True, cancel_futures=True)
        )


def _step_back() -> None:
    """Let every other thread of this machine go first: a call's audio must not wait for a recogniser (Linux)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class LocalStt(SttStream):
    """One call's stream."""

    ends_turns = False
    hopeless = True
    """When it is lost: this machine will not do it better a second later."""

    def __init__(
        self,
        ears: LocalEars,
        sample_rate: int,
        *,
        endpointing_s: float = 0.3,
        utterance_end_s: float = 1.0,
        breaker: Breaker | None = None,
        counters: Counter[str] | None = None,
    ) -> None:
        super().__init__(sample_rate, counters)
        self._ears = ears
        self._rate = sample_rate
        self._how = Listening(endpointing_s, INTERIM_S, utterance_end_s, LONGEST_FINAL_S, SILENCE_FINAL_S)
        self._breaker = breaker
        self._meter = METER.get()
        self._listener: Listener | None = None

    async def connect(self) -> None:
        """Begin to listen. Raises `ProviderError`."""
        breaker = self._breaker
        if self._ears.full:  # no fault of its own
            raise ProviderError(NAME, f"hears {self._ears.calls} calls, and no more (LOCAL_STT_CALLS)")
        if breaker is not None and not breaker.allows():
            raise ProviderError(NAME, f"is left alone after failures, for {breaker.rest_s:.1f} s")
        try:
            recogniser = await self._ears.admit()
        except ProviderError as error:
            self._meter.failed("stt")
            if breaker is not None:
                breaker.failed(error)
            raise
        if breaker is not None:
            breaker.succeeded()
        self.counters["connected"] += 1
        self._listener = Listener(recogniser, self._ears.pool, self._rate, self._how)
        self._task = asyncio.create_task(self._run(self._listener), name="local stt")

    async def close(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._listener is not None:
            self._listener = None
            self._ears.leave()
        self._bell.stop()
        self._events.put(None)

    # -- listening ---------------------------------------------------------------------------------------------------

    async def _run(self, listener: Listener) -> None:
        try:
            while True:
                while self._kept:
                    await self._hear(listener, *self._kept.take(self._timeline.sent_ms))
                await self._bell.wait(float("inf"))
        except Exception as error:  # of an engine that is not ours
            log.exception("the local STT failed")
            self._meter.failed("stt")
            if self._breaker is not None:
                self._breaker.failed(ProviderError(NAME, f"failed: {type(error).__name__}"))
            self._kept.take_back()
            self._emit(SttAway())
            self._emit(SttLost(f"{NAME}: {type(error).__name__}"))

    async def _hear(self, listener: Listener, position_ms: int, pcm: bytes) -> None:
        """A piece: audio, or a request for what is final."""
        if not pcm:
            async for event in listener.finalize(LEAST_FINAL_S):
                self._tell(event)
            return
        length_ms = len(pcm) / self._bytes_a_ms
        self._timeline.sent(position_ms, length_ms)
        self._meter.add("stt", "local", "seconds", length_ms / 1000)
        async for event in listener.feed(np.frombuffer(pcm, np.int16)):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if isinstance(event, SpeechStarted):
            return
        if not isinstance(event, Result):
            self._emit(UtteranceEnd())
            return
        start = event.words[0].start if event.words else event.start
        end = event.words[-1].end if event.words else event.end
        if event.is_final:
            self._kept.settle(1000 * event.end)
        line = self._timeline
        words = tuple(
            HeardWord(word.text, line.call_ms(1000 * word.start), line.call_end_ms(1000 * word.end))
            for word in (event.words if event.is_final else ())
        )
        self.counters["finals" if event.is_final else "interims"] += 1
        self._emit(
            Transcript(
                text=" ".join(word.text for word in event.words),
                final=event.is_final,
                speech_final=event.speech_final,
                start_ms=line.call_ms(1000 * start),
                end_ms=line.call_end_ms(1000 * end),
                covered_ms=line.call_end_ms(1000 * event.end),
                words=words,
            )
        )
